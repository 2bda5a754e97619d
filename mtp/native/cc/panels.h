// Products of a map's pixels with a matrix by vectors of float32: panels of the matrix, blocks of pixels.

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

#if defined(__AVX512F__)
// The first `count` numbers of a row, by one instruction in an inner loop; Panels copies nothing.
constexpr bool kMasks = true;
struct Mask {
  __mmask16 lanes;
  explicit Mask(int64_t count) : lanes(count >= kLanes ? 0xffff : (1u << count) - 1) {}
  Vector load(const float* from) const { return reinterpret_cast<Vector>(_mm512_maskz_loadu_ps(lanes, from)); }
};
#else
constexpr bool kMasks = false;
struct Mask {
  explicit Mask(int64_t) {}
  Vector load(const float* from) const { return mtp::load(from); }
};
#endif

// Pixels of C numbers, `stride` numbers apart, in rows of `columns`, behind each of which `gap` numbers are left out.
struct Pixels {
  const float* data;
  int64_t stride, columns, gap = 0;

  const float* at(int64_t pixel) const { return data + pixel * stride; }  // of the first row
};

// A (C, F) matrix; where there are no masks, a copy whose rows are whole vectors, with zeros at their ends.
struct Panels {
  int64_t channels, features, row;
  std::vector<float> copy;
  const float* data;

  Panels(const float* from, int64_t channels, int64_t features)
      : channels(channels), features(features), row(kMasks ? features : round_up(features, kLanes)), data(from) {
    if (row == features) return;
    copy.resize(channels * row);
    for (int64_t c = 0; c < channels; ++c) std::copy_n(from + c * features, features, copy.data() + c * row);
    data = copy.data();
  }
};

// Where sums go, their scale and shift, and another map's numbers to be added, or null; rows as of Pixels.
struct Target {
  float* y;
  const float *scale, *shift, *onto;
  int64_t features, width;  // width: columns of the matrix from the first on
  int64_t columns, gap;

  Target moved(int64_t numbers) const {
    return {y + numbers, scale, shift, onto ? onto + numbers : nullptr, features, width, columns, gap};
  }
  Target at(int64_t pixel) const { return moved(pixel * features); }  // of the first row
  Target next_row() const { return moved(columns * features + gap); }
  Target from(int64_t feature) const {
    Target to = moved(feature);
    to.scale += feature, to.shift += feature, to.width -= feature;
    return to;
  }
};

// y[p][...] = scale[...] * sum over c of x[p][c] panel[c][...] + shift[...] + onto[p][...] for `Count` pixels.
template <int Count, int Vectors>
void multiply_block(const float* x, int64_t stride, int64_t channels, const float* panel, int64_t row,
                    const Target& to) {
  Vector sum[Count][Vectors] = {};
  const Mask last(to.width - (Vectors - 1) * kLanes);
  for (int64_t c = 0; c < channels; ++c, panel += row) {
    Vector k[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors - 1; ++v) k[v] = load(panel + v * kLanes);
    k[Vectors - 1] = last.load(panel + (Vectors - 1) * kLanes);
#pragma GCC unroll 16
    for (int p = 0; p < Count; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sum[p][v] += x[p * stride + c] * k[v];
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < Vectors; ++v) {
    const int64_t at = v * kLanes, count = to.width - at;
    const Vector scale = load(to.scale + at, count), shift = load(to.shift + at, count);
#pragma GCC unroll 16
    for (int p = 0; p < Count; ++p) sum[p][v] = sum[p][v] * scale + shift;
    if (to.onto) {
#pragma GCC unroll 16
      for (int p = 0; p < Count; ++p) sum[p][v] += load(to.onto + p * to.features + at, count);
    }
#pragma GCC unroll 16
    for (int p = 0; p < Count; ++p) store(to.y + p * to.features + at, sum[p][v], count);
  }
}

template <int Vectors>
void multiply_panel(const Pixels& x, int64_t pixels, int64_t channels, const float* panel, int64_t row,
                    const Target& to) {
  constexpr int kCount = pixels_at_once(Vectors);
  if (pixels < kCount) {
    for (int64_t p = 0; p < pixels; ++p)
      multiply_block<1, Vectors>(x.at(p), x.stride, channels, panel, row, to.at(p));
    return;
  }
  for_each_block(pixels, kCount, [&](int64_t p) {
    multiply_block<kCount, Vectors>(x.at(p), x.stride, channels, panel, row, to.at(p));
  });
}

// x times the matrix, for `pixels` pixels of one row.
inline void multiply_row(const Pixels& x, int64_t pixels, const Panels& matrix, const Target& to) {
  for (int64_t first = 0; first < matrix.features;) {
    // panels of three vectors, but never one of four left over
    const int64_t left = ceil_div(matrix.features - first, kLanes);
    const int64_t vectors = left == 4 ? 2 : std::min<int64_t>(kPanel, left);
    const auto multiplied = vectors == 3 ? multiply_panel<3> : vectors == 2 ? multiply_panel<2> : multiply_panel<1>;
    multiplied(x, pixels, matrix.channels, matrix.data + first, matrix.row, to.from(first));
    first += vectors * kLanes;
  }
}

// The same for several rows, which are one where nothing is left out.
inline void multiply(Pixels x, int64_t rows, const Panels& matrix, Target to) {
  if (x.gap == 0 && to.gap == 0) return multiply_row(x, rows * x.columns, matrix, to);
  for (int64_t r = 0; r < rows; ++r, to = to.next_row()) {
    multiply_row(x, x.columns, matrix, to);
    x.data += x.columns * x.stride + x.gap;
  }
}

}  // namespace mtp
