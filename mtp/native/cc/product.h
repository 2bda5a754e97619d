// A pointwise convolution and the batch norm behind it: products of a map's pixels with a matrix over their channels,
// by the matrix unit where there is one, else by vectors.

#pragma once

#include <optional>

#include "amx.h"

namespace mtp {

// A (C, F) matrix; those that are used at the same time have places 0, 1, ...
struct Matrix {
  int64_t channels, features;
  Panels panels;
#if defined(MTP_AMX)
  std::optional<Tiles> tiles;
#endif

  Matrix(const float* from, int64_t channels, int64_t features, int64_t place = 0)
      : channels(channels), features(features), panels(from, channels, features) {
#if defined(MTP_AMX)
    constexpr int64_t kFew = 28;  // with so few channels too much of a tile is empty
    if (channels > kFew && has_tiles()) tiles.emplace(from, channels, features, place);
#endif
  }
};

// What follows the sums: times scale, plus shift.
struct Affine {
  const float *scale, *shift;
};

// y = scale * x matrix + shift + onto for `rows` rows of pixels, behind each of which y and onto leave out `gap`
// numbers; onto may be null.
inline void multiply(const Pixels& x, int64_t rows, const Matrix& matrix, const Affine& affine, const float* onto,
                     float* y, int64_t gap) {
  const Target to{y, affine.scale, affine.shift, onto, matrix.features, matrix.features, x.columns, gap};
#if defined(MTP_AMX)
  if (matrix.tiles) return multiply(x, rows, *matrix.tiles, to);
#endif
  multiply(x, rows, matrix.panels, to);
}

}  // namespace mtp
