// ReLU and depthwise convolution of NHWC float32 maps, and its two gradients, as handlers of XLA's foreign function
// interface; the ReLU can be left out. A map holds one picture a slot, in the bottom-right corner; the convolution sees
// zeros elsewhere.
//
// Work is cut into tiles by shapes alone and sums go in a fixed order: results do not depend on threads.

#include "correlate.h"

namespace {

using namespace mtp;

#if defined(__AVX512F__)
constexpr int kSums = 28;  // vectors of the kernel gradient that stay in registers
#else
constexpr int kSums = 10;
#endif

// Rows first .. last - 1 of the slot of a gradient by x, which only passes inside and, rectified, where x is positive.
void gate(const Slot& x, const Shape& s, float* dx, int64_t first, int64_t last) {
  const int64_t channels = s.channels;
  for (int64_t h = first; h < last; ++h) {
    float* to = dx + h * x.width * channels;
    const float* from = x.row(h, channels);
    const int64_t begin = (from ? x.left : x.width) * channels;
    std::memset(to, 0, begin * sizeof(float));
    if (!s.rectified) continue;
    for (int64_t t = begin; t < x.width * channels; ++t) to[t] = from[t] > 0 ? to[t] : 0;
  }
}

template <int K, int S>
void forward(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, const Taps& taps, float* y) {
  const Padded layout{nullptr, s.channels, s.left, padded_width(s)};
  const Tiling tiling(s.batch, s.out_height, most_rows(S * layout.row()), 2 * kRows);
  for_each_tile(pool, tiling.tiles, s.products(), [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), first = tiling.first(tile), rows = tiling.last(tile) - first;
    const int64_t count = (rows - 1) * S + K;
    const Padded padded = layout.in(scratch(count * layout.row()));
    padded.fill_rows(input_slot(s, x, sizes, b), first * S - s.top, count, s.rectified);
    const Plane plane{y + (b * s.out_height + first) * s.out_row(), s.out_row(), s.channels, s.out_width};
    correlate<S, K, K>(padded.data, padded.row(), taps, plane, rows);
  });
}

// Of stride 1: the same sums over dy with the kernel flipped.
template <int K>
void input_gradient(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, const float* dy,
                    const Taps& taps, float* dx) {
  const Padded layout{nullptr, s.channels, s.left, padded_width(s)};
  const Tiling tiling(s.batch, s.height, most_rows(layout.row()), 2 * kRows);
  for_each_tile(pool, tiling.tiles, s.products(), [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), first = tiling.first(tile), rows = tiling.last(tile) - first;
    const int64_t count = rows - 1 + K;
    const Padded padded = layout.in(scratch(count * layout.row()));
    padded.fill_rows(output_slot(s, dy, b), first - s.top, count, false);
    float* to = dx + b * s.height * s.row();
    correlate<1, K, K>(padded.data, padded.row(), taps, {to + first * s.row(), s.row(), s.channels, s.width}, rows);
    gate(input_slot(s, x, sizes, b), s, to, first, first + rows);
  });
}

// One phase of the input gradient of stride 2: positions u = 2 m + b of the padded rows 2 r + a, from the taps of rows
// a, a + 2, ... and columns b, b + 2, ...; dx and dy begin with the first of those rows.
template <int KI, int KJ>
void gather_phase(const Shape& s, const Padded& dy, int64_t dy_row, const Taps& taps, float* dx, int64_t rows,
                  int64_t b) {
  const int64_t m = (s.left - b + 1) / 2, pixels = (s.width - 1 + s.left - b) / 2 - m + 1;
  if (pixels <= 0) return;
  const Plane plane{dx + (2 * m + b - s.left) * s.channels, 2 * s.row(), 2 * s.channels, pixels};
  correlate<1, KI, KJ>(dy.at(dy_row, m - KJ + 1 + dy.before), dy.row(), taps, plane, rows);
}

template <int K>
void input_gradient_strided(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, const float* dy,
                            const Taps* taps, float* dx) {
  constexpr int kEven = (K + 1) / 2, kOdd = K / 2;
  const int64_t pixels = std::max(s.out_width, (s.width - 1 + s.left) / 2 + 1);
  const Padded layout{nullptr, s.channels, kEven - 1, kEven - 1 + pixels};
  const Tiling tiling(s.batch, s.height, most_rows(layout.row()), 2 * kRows);
  for_each_tile(pool, tiling.tiles, s.products(), [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), begin = tiling.first(tile), end = tiling.last(tile);
    const int64_t first = (begin + s.top) / 2 - kEven + 1, count = (end - 1 + s.top) / 2 - first + 1;
    const Padded padded = layout.in(scratch(count * layout.row()));
    padded.fill_rows(output_slot(s, dy, b), first, count, false);
    for (int64_t a = 0; a < 2; ++a) {
      const int64_t m = (begin + s.top - a + 1) / 2, rows = (end - 1 + s.top - a) / 2 - m + 1;
      if (rows <= 0 || 2 * m + a - s.top >= end) continue;
      float* to = dx + (b * s.height + 2 * m + a - s.top) * s.row();
      const int64_t dy_row = m - (a ? kOdd : kEven) + 1 - first;
      if (a == 0) {
        gather_phase<kEven, kEven>(s, padded, dy_row, taps[0], to, rows, 0);
        gather_phase<kEven, kOdd>(s, padded, dy_row, taps[1], to, rows, 1);
      } else {
        gather_phase<kOdd, kEven>(s, padded, dy_row, taps[2], to, rows, 0);
        gather_phase<kOdd, kOdd>(s, padded, dy_row, taps[3], to, rows, 1);
      }
    }
    gate(input_slot(s, x, sizes, b), s, dx + b * s.height * s.row(), begin, end);
  });
}

// Sums of G tap rows x KJ taps of one vector of channels over `rows` input rows: those over q and w of
// x[q][w * S + j] * dy[q - i][w], of which `count` channels go to part[i * S][j].
template <int G, int KJ, int S>
void accumulate(const float* x, int64_t x_row, const float* dy, int64_t dy_row, int64_t pixel, int64_t rows,
                int64_t width, float* part, int64_t channels, int64_t count) {
  Vector sum[G][KJ] = {};
  for (int64_t q = 0; q < rows; ++q) {
    for (int64_t w = 0; w < width; ++w) {
      Vector slope[G];
#pragma GCC unroll 8
      for (int i = 0; i < G; ++i) slope[i] = load(dy + (q - i) * dy_row + w * pixel);
#pragma GCC unroll 8
      for (int j = 0; j < KJ; ++j) {
        const Vector v = load(x + q * x_row + (w * S + j) * pixel);
#pragma GCC unroll 8
        for (int i = 0; i < G; ++i) sum[i][j] += v * slope[i];
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < G; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < KJ; ++j) store(part + (i * S * KJ + j) * channels, sum[i][j], count);
  }
}

template <int KJ, int S>
auto accumulate_group(int64_t group) {
  switch (group) {
    case 1: return accumulate<1, KJ, S>;
    case 2: return accumulate<2, KJ, S>;
    case 3: return accumulate<3, KJ, S>;
    case 4: return accumulate<4, KJ, S>;
    default: return accumulate<5, KJ, S>;
  }
}

// Kernel gradient of one tile: output rows first .. first + rows - 1 of one slot, into part[K][K][C].
template <int K, int S>
void kernel_gradient_tile(const Shape& s, const Slot& x, const Slot& dy, int64_t first, int64_t rows, float* part) {
  constexpr int64_t kGroup = std::min(5, kSums / K);
  const int64_t count = (rows - 1) * S + K, spare = kGroup - 1;
  Padded padded{nullptr, s.channels, s.left, padded_width(s)}, slopes{nullptr, s.channels, 0, s.out_width};
  padded.data = scratch(count * padded.row() + (rows + 2 * spare) * slopes.row());
  slopes.data = padded.data + count * padded.row();
  padded.fill_rows(x, first * S - s.top, count, s.rectified);
  // rows of other tiles count there, not here
  for (int64_t r = -spare; r < rows + spare; ++r)
    slopes.fill(r + spare, dy, r < 0 || r >= rows ? -1 : first + r);
  for (int64_t a = 0; a < S; ++a) {
    for (int64_t i0 = a; i0 < K; i0 += kGroup * S) {
      const int64_t group = std::min(kGroup, ceil_div(K - i0, S));
      // input row of q: (first + q) * S + i0 - top; rows of zeros outside the picture add nothing
      int64_t begin = 0, end = rows + group - 1;
      while (begin < end && (first + begin) * S + i0 < s.top) ++begin;
      while (begin < end && (first + end - 1) * S + i0 - s.top >= s.height) --end;
      for (int64_t c = 0; c < s.channels; c += kLanes)
        accumulate_group<K, S>(group)(padded.at(i0 + begin * S, 0) + c, S * padded.row(),
                                      slopes.at(spare + begin, 0) + c, slopes.row(), padded.pixel(), end - begin,
                                      s.out_width, part + i0 * K * s.channels + c, s.channels, s.channels - c);
    }
  }
}

template <int K, int S>
void kernel_gradient(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, const float* dy, float* dk) {
  const Tiling tiling(s.batch, s.out_height, 32, 2 * kRows);
  const int64_t tiles = tiling.tiles, size = K * K * s.channels;
  std::vector<float> parts(tiles * size);
  for_each_tile(pool, tiles, s.products(), [&](int64_t tile) {
    const int64_t b = tiling.slot(tile), first = tiling.first(tile), rows = tiling.last(tile) - first;
    kernel_gradient_tile<K, S>(s, input_slot(s, x, sizes, b), output_slot(s, dy, b), first, rows,
                               parts.data() + tile * size);
  });
  std::fill(dk, dk + size, 0.0f);
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int64_t i = 0; i < size; ++i) dk[i] += parts[tile * size + i];
}

bool empty(const Shape& s) { return s.batch * s.height * s.width * s.channels == 0; }

ffi::Error Forward(ffi::ThreadPool pool, Map x, PictureSizes sizes, Kernel kernel, ffi::Result<Map> y,
                   int64_t stride, bool rectified) {
  if (auto error = check_depthwise(x.dimensions(), sizes.dimensions(), kernel.dimensions(), y->dimensions(), stride);
      error.failure())
    return error;
  const Shape s(x.dimensions(), kernel.dimensions()[0], stride, rectified);
  if (empty(s)) return ffi::Error::Success();
  const Taps taps = all_taps(kernel.typed_data(), s.channels, s.window);
  dispatch(s.window, stride, [&](auto k, auto step) {
    forward<k(), step()>(pool, s, x.typed_data(), sizes.typed_data(), taps, y->typed_data());
  });
  return ffi::Error::Success();
}

ffi::Error InputGradient(ffi::ThreadPool pool, Map x, PictureSizes sizes, Kernel kernel, Map dy, ffi::Result<Map> dx,
                         int64_t stride, bool rectified) {
  if (auto error = check_depthwise(dx->dimensions(), sizes.dimensions(), kernel.dimensions(), dy.dimensions(), stride);
      error.failure())
    return error;
  const Shape s(dx->dimensions(), kernel.dimensions()[0], stride, rectified);
  if (empty(s)) return ffi::Error::Success();
  std::vector<Taps> taps;
  for (int64_t a = 0; a < stride; ++a)
    for (int64_t b = 0; b < stride; ++b)
      taps.push_back(select_taps(kernel.typed_data(), s.channels, s.window, a, b, stride, true));
  dispatch(s.window, stride, [&](auto k, auto step) {
    if constexpr (step() == 1) {
      input_gradient<k()>(pool, s, x.typed_data(), sizes.typed_data(), dy.typed_data(), taps[0], dx->typed_data());
    } else {
      input_gradient_strided<k()>(pool, s, x.typed_data(), sizes.typed_data(), dy.typed_data(), taps.data(),
                                  dx->typed_data());
    }
  });
  return ffi::Error::Success();
}

ffi::Error KernelGradient(ffi::ThreadPool pool, Map x, PictureSizes sizes, Map dy, ffi::Result<Kernel> dk,
                          int64_t stride, bool rectified) {
  if (auto error = check_depthwise(x.dimensions(), sizes.dimensions(), dk->dimensions(), dy.dimensions(), stride);
      error.failure())
    return error;
  const Shape s(x.dimensions(), dk->dimensions()[0], stride, rectified);
  if (empty(s)) {
    std::fill_n(dk->typed_data(), dk->element_count(), 0.0f);
    return ffi::Error::Success();
  }
  dispatch(s.window, stride, [&](auto k, auto step) {
    kernel_gradient<k(), step()>(pool, s, x.typed_data(), sizes.typed_data(), dy.typed_data(), dk->typed_data());
  });
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(DepthwiseForward, Forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Arg<Kernel>()
                                  .Ret<Map>()
                                  .Attr<int64_t>("stride")
                                  .Attr<bool>("rectified"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(DepthwiseInputGradient, InputGradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Arg<Kernel>()
                                  .Arg<Map>()
                                  .Ret<Map>()
                                  .Attr<int64_t>("stride")
                                  .Attr<bool>("rectified"));
XLA_FFI_DEFINE_HANDLER_SYMBOL(DepthwiseKernelGradient, KernelGradient,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Arg<Map>()
                                  .Ret<Kernel>()
                                  .Attr<int64_t>("stride")
                                  .Attr<bool>("rectified"));
