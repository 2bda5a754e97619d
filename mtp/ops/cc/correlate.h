// Shapes, padded rows and taps of depthwise convolutions, and the sums over them, which every kernel with such a
// convolution shares.
//
// A row of W pixels of C channels is read as one flat run of W * C numbers: shifting by one pixel is shifting by C,
// and the kernel repeats every C numbers. Every vector is then full whatever C is (11, 22 and 44 are no multiples of
// a vector), and the inner loops know nothing of channels. Rows are copied into a small scratch first, with the zeros
// of the padding around them; for stride 2 even and odd pixels are parted there, so that all inner loops have stride 1
// along a row.

#pragma once

#include "slots.h"

namespace mtp {

constexpr int kRows = 4;  // output rows at once: each vector that is read serves several of them

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

// Rows in scratch: `before` zero pixels, the row, zeros. Pixel u lies in phase u % stride at place u / stride.
struct Padded {
  float* data;
  int64_t channels, before, stride, phase;  // phase: length of one phase

  int64_t row() const { return stride * phase; }

  // Row `index` of the scratch from row h of a slot, or zeros where it has none; `take` copies or rectifies.
  template <typename Take>
  void fill(int64_t index, const Slot& slot, int64_t h, Take take) const {
    const float* from = slot.row(h, channels);
    const int64_t first = before + (from ? slot.left : slot.width), last = before + slot.width;
    for (int64_t f = 0; f < stride; ++f) {
      float* to = data + index * row() + f * phase;
      const int64_t begin = ceil_div(first - f, stride), end = ceil_div(last - f, stride);
      std::memset(to, 0, begin * channels * sizeof(float));
      if (stride == 1) {
        take(to + begin * channels, from + (first - before) * channels, (end - begin) * channels);
      } else {
        for (int64_t m = begin; m < end; ++m)
          take(to + m * channels, from + (m * stride + f - before) * channels, channels);
      }
      std::memset(to + end * channels, 0, (phase - end * channels) * sizeof(float));
    }
  }

  // Rows first .. first + count - 1.
  void fill_rows(const Slot& slot, int64_t first, int64_t count, bool rectified) const {
    for (int64_t q = 0; q < count; ++q) rectified ? fill(q, slot, first + q, rectify) : fill(q, slot, first + q, copy);
  }
};

// Taps of a kernel, each repeated along C + kLanes numbers so that a vector can begin at any channel.
struct Taps {
  int64_t channels;
  std::vector<float> values;

  Taps(int64_t channels, int64_t count) : channels(channels) { values.reserve(count * length()); }
  int64_t length() const { return channels + kLanes; }
  void add(const float* tap) {
    const int64_t begin = values.size();
    values.resize(begin + length());
    for (int64_t u = 0; u < length(); u += channels)
      std::copy_n(tap, std::min(channels, length() - u), values.data() + begin + u);
  }
};

// to[r][t] = sum over i < KI, j < KJ of from[r * S + i][t + shift[j]] * taps[i][j][t mod C], for `Rows` rows.
template <int Rows, int S, int KI, int KJ>
void correlate_rows(const float* from, int64_t from_row, const int64_t* shift, const Taps& taps, float* to,
                    int64_t to_row, int64_t length) {
  const int64_t tap = taps.length(), step = kLanes % taps.channels;
  int64_t phase = 0;
  for (int64_t t = 0; t < length; t += kLanes) {
    Vector sum[Rows] = {};
#pragma GCC unroll 8
    for (int j = 0; j < KJ; ++j) {
      Vector k[KI];
#pragma GCC unroll 8
      for (int i = 0; i < KI; ++i) k[i] = load(taps.values.data() + (i * KJ + j) * tap + phase);
      const float* x = from + shift[j] + t;
#pragma GCC unroll 16
      for (int q = 0; q < (Rows - 1) * S + KI; ++q, x += from_row) {
        const Vector v = load(x);
#pragma GCC unroll 8
        for (int r = 0; r < Rows; ++r) {
          if (q - r * S >= 0 && q - r * S < KI) sum[r] += v * k[q - r * S];
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) store(to + r * to_row + t, sum[r], length - t);
    phase += step;
    if (phase >= taps.channels) phase -= taps.channels;
  }
}

// The same for any number of rows; the last block begins early enough to be whole, and writes some rows twice.
template <int S, int KI, int KJ>
void correlate(const float* from, int64_t from_row, const int64_t* shift, const Taps& taps, float* to, int64_t to_row,
               int64_t length, int64_t rows) {
  if (rows < kRows) {
    for (int64_t r = 0; r < rows; ++r)
      correlate_rows<1, S, KI, KJ>(from + r * S * from_row, from_row, shift, taps, to + r * to_row, to_row, length);
    return;
  }
  for (int64_t block = 0; block < rows; block += kRows) {
    const int64_t r = std::min(block, rows - kRows);
    correlate_rows<kRows, S, KI, KJ>(from + r * S * from_row, from_row, shift, taps, to + r * to_row, to_row, length);
  }
}

// Where tap j of a window reads, from where its output lies; the window begins `offset` columns into the padding.
inline std::vector<int64_t> tap_shifts(const Padded& padded, int64_t window, int64_t offset = 0) {
  std::vector<int64_t> shift;
  for (int64_t j = offset; j < offset + window; ++j)
    shift.push_back(j % padded.stride * padded.phase + j / padded.stride * padded.channels);
  return shift;
}

inline int64_t most_rows(int64_t row) { return std::max<int64_t>(2 * kRows, 65536 / row); }

// Length of one phase of a padded row.
inline int64_t forward_phase(const Shape& s) {
  return (s.out_width + (s.window - 1) / s.stride) * s.channels + kLanes;
}

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
