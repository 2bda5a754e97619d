// ReLU and the two half-resolution samplings of NASNet's factorised reduction, NHWC float32, and their gradient, as
// handlers of XLA's foreign function interface. XLA makes padded copies and eight slices of them, on one thread.

#include "slots.h"

namespace {

using namespace mtp;

constexpr int64_t kCost = 4;  // of a number, in products of a convolution

struct Shape {
  int64_t batch, height, width, channels, out_height, out_width;

  explicit Shape(ffi::Span<const int64_t> x)
      : batch(x[0]), height(x[1]), width(x[2]), channels(x[3]),
        out_height(ceil_div(height, 2)), out_width(ceil_div(width, 2)) {}
  int64_t row() const { return width * channels; }
  int64_t out_row() const { return out_width * channels; }
  int64_t numbers() const { return batch * height * row(); }
};

// Along a side, path 0 samples at distances 0, 2, ... from the end where the picture's side is odd and 1, 3, ... where
// it is even; path 1 at -1 (a zero), 1, 3, ... and 0, 2, ....
int64_t first_distance(int64_t side, int path) { return side % 2 ? -path : 1 - path; }

// Where output `index` of `out_side` samples a side of the canvas; outside it where there is a zero.
int64_t source(int64_t index, int64_t out_side, int64_t side, int64_t distance) {
  return side - 1 - distance - 2 * (out_side - 1 - index);
}

void forward(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, float* const (&paths)[2]) {
  const Tiling tiling(s.batch, s.out_height, 16, 4);
  for_each_tile(pool, tiling.tiles, kCost * s.numbers(), [&](int64_t tile) {
    const int64_t b = tiling.slot(tile);
    for (int path = 0; path < 2; ++path) {
      const int64_t down = first_distance(sizes[2 * b], path), along = first_distance(sizes[2 * b + 1], path);
      for (int64_t i = tiling.first(tile); i < tiling.last(tile); ++i) {
        const int64_t h = source(i, s.out_height, s.height, down);
        float* to = paths[path] + (b * s.out_height + i) * s.out_row();
        std::memset(to, 0, s.out_row() * sizeof(float));
        if (h < 0 || h >= s.height) continue;
        const float* from = x + (b * s.height + h) * s.row();
        for (int64_t j = 0; j < s.out_width; ++j) {
          const int64_t w = source(j, s.out_width, s.width, along);
          if (w >= 0 && w < s.width) rectify(to + j * s.channels, from + w * s.channels, s.channels);
        }
      }
    }
  });
}

// The paths sample different rows and columns: each pixel passes a gradient on to one of them at most.
void gradient(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, const float* const (&slopes)[2],
              float* dx) {
  const Tiling tiling(s.batch, s.height, 32, 8);
  for_each_tile(pool, tiling.tiles, kCost * s.numbers(), [&](int64_t tile) {
    const int64_t b = tiling.slot(tile);
    for (int64_t h = tiling.first(tile); h < tiling.last(tile); ++h) {
      const int64_t offset = (b * s.height + h) * s.row(), below = s.height - 1 - h;
      std::memset(dx + offset, 0, s.row() * sizeof(float));
      const int path = (below - first_distance(sizes[2 * b], 0)) % 2 != 0;
      const int64_t i = s.out_height - 1 - (below - first_distance(sizes[2 * b], path)) / 2;
      const float* from = slopes[path] + (b * s.out_height + i) * s.out_row();
      if (i < 0) continue;
      const int64_t along = first_distance(sizes[2 * b + 1], path);
      for (int64_t j = 0; j < s.out_width; ++j) {
        const int64_t w = source(j, s.out_width, s.width, along);
        if (w < 0 || w >= s.width) continue;
        for (int64_t c = 0; c < s.channels; ++c) {
          const int64_t at = offset + w * s.channels + c;
          dx[at] = x[at] > 0 ? from[j * s.channels + c] : 0;
        }
      }
    }
  });
}

ffi::Error Forward(ffi::ThreadPool pool, Map x, PictureSizes sizes, ffi::Result<Map> first, ffi::Result<Map> second) {
  if (auto error = check_halves("factorised", x.dimensions(), sizes.dimensions(), first->dimensions(),
                                second->dimensions());
      error.failure())
    return error;
  const Shape s(x.dimensions());
  if (s.numbers() > 0)
    forward(pool, s, x.typed_data(), sizes.typed_data(), {first->typed_data(), second->typed_data()});
  return ffi::Error::Success();
}

ffi::Error Gradient(ffi::ThreadPool pool, Map x, PictureSizes sizes, Map first, Map second, ffi::Result<Map> dx) {
  if (auto error = check_halves("factorised", x.dimensions(), sizes.dimensions(), first.dimensions(),
                                second.dimensions());
      error.failure())
    return error;
  const Shape s(x.dimensions());
  if (s.numbers() > 0)
    gradient(pool, s, x.typed_data(), sizes.typed_data(), {first.typed_data(), second.typed_data()},
             dx->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(FactorisedForward, Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Ret<Map>()
                                  .Ret<Map>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(FactorisedGradient, Gradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Arg<Map>()
                                  .Arg<Map>()
                                  .Ret<Map>());
