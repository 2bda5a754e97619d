// Products of a map's pixels with a matrix over their channels: a pointwise convolution, with what follows it.

#pragma once

#include "slots.h"

namespace mtp {

constexpr int kPanel = 3;  // vectors of output channels at once

// Pixels at once, so that the sums of a panel of so many vectors stay in registers.
#if defined(__AVX512F__)
constexpr int pixels_at_once(int vectors) { return vectors == 3 ? 9 : 12; }
#else
constexpr int pixels_at_once(int vectors) { return vectors == 3 ? 4 : 6; }
#endif

// A (C, F) matrix in panels of at most kPanel vectors of columns, each panel (C, vectors) and padded with zeros.
struct Panels {
  int64_t channels, features;
  std::vector<Vector> values;

  // The columns times `scale`, one number each.
  Panels(const float* matrix, const float* scale, int64_t channels, int64_t features)
      : channels(channels), features(features), values(channels * ceil_div(features, kLanes)) {
    for (int64_t first = 0; first < features;) {
      const int64_t width = vectors(first) * kLanes, filled = std::min(width, features - first);
      float* to = reinterpret_cast<float*>(panel(first));
      for (int64_t c = 0; c < channels; ++c) {
        const float* from = matrix + c * features + first;
        for (int64_t f = 0; f < filled; ++f) to[c * width + f] = from[f] * scale[first + f];
      }
      first += width;
    }
  }

  // How many vectors the panel has that begins with this column: three, but never one of four left over.
  int64_t vectors(int64_t first) const {
    const int64_t left = ceil_div(features - first, kLanes);
    return left == 4 ? 2 : std::min<int64_t>(kPanel, left);
  }
  Vector* panel(int64_t first) { return values.data() + first / kLanes * channels; }
  const Vector* panel(int64_t first) const { return values.data() + first / kLanes * channels; }
};

// Where the sums of a panel go, and what is added to them: a shift of each channel, and another map's numbers or null.
struct Target {
  float* y;
  const float *shift, *onto;
  int64_t features, width;  // width: columns from the panel's first on

  Target at(int64_t pixel) const {
    return {y + pixel * features, shift, onto ? onto + pixel * features : nullptr, features, width};
  }
};

// y[p][...] = sum over c of x[p][c] panel[c] + shift[...] + onto[p][...] for `Pixels` pixels.
template <int Pixels, int Vectors>
void multiply_block(const float* x, int64_t channels, const Vector* panel, const Target& to) {
  Vector sum[Pixels][Vectors] = {};
  for (int64_t c = 0; c < channels; ++c, panel += Vectors) {
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[p][v] += x[p * channels + c] * panel[v];
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) {
    const Vector shift = load(to.shift + v * kLanes);
    const int64_t at = v * kLanes, count = to.width - at;
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p) sum[p][v] += shift;
    if (to.onto) {
#pragma GCC unroll 16
      for (int p = 0; p < Pixels; ++p) sum[p][v] += load(to.onto + p * to.features + at, count);
    }
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p) store(to.y + p * to.features + at, sum[p][v], count);
  }
}

template <int Vectors>
void multiply_panel(const float* x, int64_t pixels, int64_t channels, const Vector* panel, const Target& to) {
  constexpr int kPixels = pixels_at_once(Vectors);
  if (pixels < kPixels) {
    for (int64_t p = 0; p < pixels; ++p)
      multiply_block<1, Vectors>(x + p * channels, channels, panel, to.at(p));
    return;
  }
  // the last block begins early enough to be whole, and writes some pixels twice
  for (int64_t block = 0; block < pixels; block += kPixels) {
    const int64_t p = std::min(block, pixels - kPixels);
    multiply_block<kPixels, Vectors>(x + p * channels, channels, panel, to.at(p));
  }
}

// y = x matrix + shift + onto for `pixels` pixels in a row; shift is padded to whole vectors, onto may be null.
inline void multiply(const float* x, int64_t pixels, const Panels& matrix, const float* shift, const float* onto,
                     float* y) {
  for (int64_t first = 0; first < matrix.features;) {
    const int64_t vectors = matrix.vectors(first);
    const Target to{y + first, shift + first, onto ? onto + first : nullptr, matrix.features, matrix.features - first};
    const auto multiplied = vectors == 3 ? multiply_panel<3> : vectors == 2 ? multiply_panel<2> : multiply_panel<1>;
    multiplied(x, pixels, matrix.channels, matrix.panel(first), to);
    first += vectors * kLanes;
  }
}

}  // namespace mtp
