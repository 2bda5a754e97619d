// Shapes, padded rows and taps of depthwise convolutions, and the sums over them, which every kernel with such a
// convolution shares.
//
// Rows are copied into a small scratch first, with the zeros of the padding around them, and with zeros behind the
// channels of each pixel up to whole vectors (11, 22, 44 and 88 channels are none). There every vector is read from an
// address that is a multiple of its length, of one line of the cache, and meets the same taps in every pixel.

#pragma once

#include "slots.h"

namespace mtp {

constexpr int kRows = 4;    // output rows at once: each vector that is read serves several of them
constexpr int kPixels = 2;  // and so many pixels of each

// Zeros before a side: "same" for stride 1, Keras' `correct_pad` for stride 2.
inline int64_t pad_before(int64_t side, int64_t window, int64_t stride) {
  return window / 2 - (stride == 2 && side % 2 == 0 ? 1 : 0);
}

struct Shape {
  int64_t batch, height, width, channels, window, stride;
  int64_t out_height, out_width, top, left;
  bool rectified;

  Shape(ffi::Span<const int64_t> x, int64_t window, int64_t stride, bool rectified)
      : batch(x[0]), height(x[1]), width(x[2]), channels(x[3]), window(window), stride(stride),
        out_height(ceil_div(height, stride)), out_width(ceil_div(width, stride)),
        top(pad_before(height, window, stride)), left(pad_before(width, window, stride)), rectified(rectified) {}

  int64_t row() const { return width * channels; }
  int64_t out_row() const { return out_width * channels; }
  int64_t products() const { return batch * out_height * out_row() * window * window; }
};

inline Slot input_slot(const Shape& s, const float* x, Sizes sizes, int64_t b) {
  return picture_slot(x, s.height, s.width, s.channels, sizes, b);
}

inline Slot output_slot(const Shape& s, const float* dy, int64_t b) {
  return {dy + b * s.out_height * s.out_row(), s.out_height, s.out_width, 0, 0};
}

// Numbers of a pixel whose channels are whole vectors.
inline int64_t padded_pixel(int64_t channels) { return round_up(channels, kLanes); }

// A number of rows of pixels in scratch, each of `width` pixels: `before` zero ones, those of a slot, zero ones.
struct Padded {
  float* data;
  int64_t channels, before, width;

  int64_t pixel() const { return padded_pixel(channels); }
  int64_t row() const { return width * pixel(); }
  Padded in(float* place) const { return {place, channels, before, width}; }
  const float* at(int64_t row_index, int64_t column) const { return data + row_index * row() + column * pixel(); }

  // Row `index` from row h of a slot, each vector as `take` makes it, or zeros where the slot has none.
  template <typename Take>
  void fill(int64_t index, const Slot& slot, int64_t h, Take take) const {
    const float* from = slot.row(h, channels);
    float* to = data + index * row();
    float* const end = to + row();
    const int64_t first = from ? slot.left : slot.width;
    to = std::fill_n(to, (before + first) * pixel(), 0.0f);
    if (from) from += first * channels;
    for (int64_t w = first; w < slot.width; ++w, from += channels) {
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes, to += kLanes) store(to, take(load(from + c)));
      if (c < channels) {
        store(to, take(load(from + c, channels - c)));
        to += kLanes;
      }
    }
    std::fill(to, end, 0.0f);
  }
  void fill(int64_t index, const Slot& slot, int64_t h) const {
    fill(index, slot, h, [](Vector v) { return v; });
  }

  // Rows first .. first + count - 1.
  void fill_rows(const Slot& slot, int64_t first, int64_t count, bool is_rectified) const {
    for (int64_t q = 0; q < count; ++q) {
      if (is_rectified) {
        fill(q, slot, first + q, [](Vector v) { return rectified(v); });
      } else {
        fill(q, slot, first + q);
      }
    }
  }
};

// Taps of a kernel, the channels of each padded as pixels are.
struct Taps {
  int64_t channels;
  std::vector<float> values;

  Taps(int64_t channels, int64_t count) : channels(channels) { values.reserve(count * pixel()); }
  int64_t pixel() const { return padded_pixel(channels); }
  void add(const float* tap) {
    values.insert(values.end(), tap, tap + channels);
    values.resize(round_up(values.size(), kLanes));
  }
};

// Where sums go: `width` pixels a row.
struct Plane {
  float* data;
  int64_t row, pixel, width;  // row, pixel: from one to the next
};

// Of `Rows` rows `Pixels` pixels from `to` on, one vector of channels of which `count` are written.
template <int Rows, int Pixels, int S, int KI, int KJ>
void correlate_block(const float* from, int64_t from_row, int64_t pixel, const float* taps, float* to,
                     const Plane& plane, int64_t count) {
  Vector sum[Rows][Pixels] = {};
#pragma GCC unroll 16
  for (int c = 0; c < KJ + (Pixels - 1) * S; ++c) {
    Vector k[Pixels][KI];
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p) {
      if (c < p * S || c - p * S >= KJ) continue;
#pragma GCC unroll 8
      for (int i = 0; i < KI; ++i) k[p][i] = load(taps + (i * KJ + c - p * S) * pixel);
    }
#pragma GCC unroll 16
    for (int q = 0; q < (Rows - 1) * S + KI; ++q) {
      const Vector x = load(from + q * from_row + c * pixel);
#pragma GCC unroll 8
      for (int p = 0; p < Pixels; ++p) {
        if (c < p * S || c - p * S >= KJ) continue;
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          if (q >= r * S && q - r * S < KI) sum[r][p] += x * k[p][q - r * S];
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p) store(to + r * plane.row + p * plane.pixel, sum[r][p], count);
  }
}

template <int Rows, int S, int KI, int KJ>
void correlate_rows(const float* from, int64_t from_row, const Taps& taps, float* to, const Plane& plane) {
  const int64_t pixel = taps.pixel();
  for (int64_t c = 0; c < taps.channels; c += kLanes) {
    auto columns = [&](auto pixels) {
      for_each_block(plane.width, pixels(), [&](int64_t w) {
        correlate_block<Rows, pixels(), S, KI, KJ>(from + w * S * pixel + c, from_row, pixel,
                                                   taps.values.data() + c, to + w * plane.pixel + c, plane,
                                                   taps.channels - c);
      });
    };
    plane.width < kPixels ? columns(std::integral_constant<int, 1>()) : columns(std::integral_constant<int, kPixels>());
  }
}

// y[r][w][...] = sum over i < KI, j < KJ of from[r * S + i][w * S + j][...] * taps[i][j][...], for any number of rows
template <int S, int KI, int KJ>
void correlate(const float* from, int64_t from_row, const Taps& taps, const Plane& plane, int64_t rows) {
  auto blocks = [&](auto at_once) {
    for_each_block(rows, at_once(), [&](int64_t r) {
      correlate_rows<at_once(), S, KI, KJ>(from + r * S * from_row, from_row, taps, plane.data + r * plane.row, plane);
    });
  };
  rows < kRows ? blocks(std::integral_constant<int, 1>()) : blocks(std::integral_constant<int, kRows>());
}

inline int64_t most_rows(int64_t row) { return std::max<int64_t>(2 * kRows, 65536 / row); }

// Pixels of a padded row of a forward pass.
inline int64_t padded_width(const Shape& s) { return (s.out_width - 1) * s.stride + s.window; }

// Taps of rows a, a + stride, ... and columns b, b + stride, ... of a kernel, the last first where flipped.
inline Taps select_taps(const float* kernel, int64_t channels, int64_t window, int64_t a, int64_t b, int64_t stride,
                        bool flipped) {
  const int64_t rows = ceil_div(window - a, stride), columns = ceil_div(window - b, stride);
  Taps taps(channels, rows * columns);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t row = a + stride * (flipped ? rows - 1 - i : i);
      const int64_t column = b + stride * (flipped ? columns - 1 - j : j);
      taps.add(kernel + (row * window + column) * channels);
    }
  }
  return taps;
}

inline Taps all_taps(const float* kernel, int64_t channels, int64_t window) {
  return select_taps(kernel, channels, window, 0, 0, 1, false);
}

// f(integral_constant<window>, integral_constant<stride>) for a window and stride that `check` let through.
template <typename F>
void dispatch(int64_t window, int64_t stride, F f) {
  auto with_window = [&](auto k) {
    stride == 1 ? f(k, std::integral_constant<int, 1>()) : f(k, std::integral_constant<int, 2>());
  };
  switch (window) {
    case 3: return with_window(std::integral_constant<int, 3>());
    case 5: return with_window(std::integral_constant<int, 5>());
    default: return with_window(std::integral_constant<int, 7>());
  }
}

using Kernel = ffi::Buffer<ffi::F32, 3>;

inline ffi::Error check_depthwise(ffi::Span<const int64_t> x, ffi::Span<const int64_t> sizes,
                                  ffi::Span<const int64_t> kernel, ffi::Span<const int64_t> y, int64_t stride) {
  const int64_t k = kernel[0];
  if ((k != 3 && k != 5 && k != 7) || kernel[1] != k || kernel[2] != x[3])
    return ffi::Error::InvalidArgument("depthwise: a kernel must be (k, k, C) with k of 3, 5 or 7, C = " +
                                       std::to_string(x[3]) + "; it is " + text(kernel));
  if (stride != 1 && stride != 2)
    return ffi::Error::InvalidArgument("depthwise: stride must be 1 or 2, not " + std::to_string(stride));
  if (auto error = check_sizes("depthwise", x[0], sizes); error.failure()) return error;
  if (y[0] != x[0] || y[1] != ceil_div(x[1], stride) || y[2] != ceil_div(x[2], stride) || y[3] != x[3])
    return ffi::Error::InvalidArgument("depthwise: maps " + text(x) + " and " + text(y) +
                                       " do not belong together at stride " + std::to_string(stride));
  return ffi::Error::Success();
}

}  // namespace mtp
