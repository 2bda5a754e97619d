// Moments of batch normalisation over the valid pixels of canvases, NHWC float32, and its gradients, as handlers of
// XLA's foreign function interface. XLA itself writes each product out before it sums it; here a map is read once for
// the moments, and with its gradient twice for the gradients.
//
// A row is read as one flat run; sums are kept for a period of numbers that is a multiple of both the channels and a
// vector, so that every vector is full. Tiles are cut by shapes alone and merged in a fixed order, in double: results
// do not depend on threads.

#include <numeric>

#include "slots.h"

namespace {

using namespace mtp;

constexpr int64_t kTile = 16384;  // numbers of a tile, which then stays in the cache between its two passes
constexpr int64_t kCost = 8;      // of a number, in products of a convolution

struct Shape {
  int64_t batch, height, width, channels, period;

  explicit Shape(ffi::Span<const int64_t> x) : batch(x[0]), height(x[1]), width(x[2]), channels(x[3]) {
    const int64_t least = std::max<int64_t>(1, std::lcm(channels, static_cast<int64_t>(kLanes)));
    period = round_up(8 * kLanes, least);  // long enough that a sum is stored before it is read again
  }
  int64_t numbers() const { return batch * height * width * channels; }
  Tiling tiling() const {
    return Tiling(batch, height, std::max<int64_t>(1, kTile / (width * channels)), 1);
  }
};

// Calls visit(offset in the slot, place in the period, count) for each vector of the tile's valid pixels.
template <typename Visit>
void for_each_vector(const Shape& s, const Slot& slot, int64_t first, int64_t last, Visit visit) {
  const int64_t length = (s.width - slot.left) * s.channels;
  for (int64_t h = std::max(first, slot.top); h < last; ++h) {
    const int64_t begin = (h * s.width + slot.left) * s.channels;
    for (int64_t t = 0, u = 0; t < length; t += kLanes) {
      visit(begin + t, u, length - t);
      u = u + kLanes == s.period ? 0 : u + kLanes;
    }
  }
}

inline Vector head(Vector v, int64_t count) { return load(reinterpret_cast<const float*>(&v), count); }

inline void add(float* sum, Vector v) { store(sum, mtp::load(sum) + v, kLanes); }

// Sums over a period to sums of each channel.
void fold(const Shape& s, const float* sums, float* channels) {
  std::fill_n(channels, s.channels, 0.0f);
  for (int64_t u = 0; u < s.period; u += s.channels)
    for (int64_t c = 0; c < s.channels; ++c) channels[c] += sums[u + c];
}

// A number of each channel along a period.
void repeat(const Shape& s, const float* channels, float* along) {
  for (int64_t u = 0; u < s.period; u += s.channels) std::copy_n(channels, s.channels, along + u);
}

int64_t pixels(const Slot& slot, int64_t first, int64_t last) {
  return std::max<int64_t>(0, last - std::max(first, slot.top)) * (slot.width - slot.left);
}

// Mean and sum of squared deviations from it, of each channel of one tile.
void tile_moments(const Shape& s, const Slot& x, int64_t first, int64_t last, float* mean, float* squares) {
  const float count = pixels(x, first, last);
  float *sums = scratch(2 * s.period), *means = sums + s.period;
  std::fill_n(sums, s.period, 0.0f);
  for_each_vector(s, x, first, last, [&](int64_t at, int64_t u, int64_t n) { add(sums + u, load(x.data + at, n)); });
  fold(s, sums, mean);
  for (int64_t c = 0; c < s.channels; ++c) mean[c] /= std::max(count, 1.0f);
  repeat(s, mean, means);
  std::fill_n(sums, s.period, 0.0f);
  for_each_vector(s, x, first, last, [&](int64_t at, int64_t u, int64_t n) {
    const Vector deviation = head(load(x.data + at, n) - mtp::load(means + u), n);
    add(sums + u, deviation * deviation);
  });
  fold(s, sums, squares);
}

// Tiles merge as Chan, Golub & LeVeque (1983) merge samples.
void moments(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, float* mean, float* variance) {
  const Tiling tiling = s.tiling();
  std::vector<float> parts(tiling.tiles * 2 * s.channels);
  auto slot = [&](int64_t tile) {
    return picture_slot(x, s.height, s.width, s.channels, sizes, tiling.slot(tile));
  };
  for_each_tile(pool, tiling.tiles, kCost * s.numbers(), [&](int64_t tile) {
    float* part = parts.data() + tile * 2 * s.channels;
    tile_moments(s, slot(tile), tiling.first(tile), tiling.last(tile), part, part + s.channels);
  });
  std::vector<double> means(s.channels), squares(s.channels);
  double count = 0;
  for (int64_t tile = 0; tile < tiling.tiles; ++tile) {
    const double more = pixels(slot(tile), tiling.first(tile), tiling.last(tile));
    if (more == 0) continue;
    const float *part_mean = parts.data() + tile * 2 * s.channels, *part_squares = part_mean + s.channels;
    for (int64_t c = 0; c < s.channels; ++c) {
      const double step = part_mean[c] - means[c];
      means[c] += step * more / (count + more);
      squares[c] += part_squares[c] + step * step * count * more / (count + more);
    }
    count += more;
  }
  for (int64_t c = 0; c < s.channels; ++c) {
    mean[c] = means[c];
    variance[c] = squares[c] / std::max(count, 1.0);
  }
}

// Sums of dy and of dy (x - mean) of each channel of one tile.
void tile_sums(const Shape& s, const Slot& x, const float* dy, int64_t first, int64_t last, const float* mean,
               float* level, float* slope) {
  float *levels = scratch(3 * s.period), *slopes = levels + s.period, *means = slopes + s.period;
  repeat(s, mean, means);
  std::fill_n(levels, 2 * s.period, 0.0f);
  for_each_vector(s, x, first, last, [&](int64_t at, int64_t u, int64_t n) {
    const Vector d = load(dy + at, n);
    add(levels + u, d);
    add(slopes + u, head(d * (load(x.data + at, n) - mtp::load(means + u)), n));
  });
  fold(s, levels, level);
  fold(s, slopes, slope);
}

// dx = scale (dy - level - slope (x - mean)) inside the picture, 0 outside, for the rows of one tile.
void tile_gradient(const Shape& s, const Slot& x, const float* dy, int64_t first, int64_t last, const float* mean,
                   const float* scale, const float* level, const float* slope, float* dx) {
  float *means = scratch(4 * s.period), *scales = means + s.period, *levels = scales + s.period;
  float* slopes = levels + s.period;
  repeat(s, mean, means);
  repeat(s, scale, scales);
  repeat(s, level, levels);
  repeat(s, slope, slopes);
  for (int64_t h = first; h < last; ++h) {
    const int64_t empty = h < x.top ? s.width : x.left;
    std::fill_n(dx + h * s.width * s.channels, empty * s.channels, 0.0f);
  }
  for_each_vector(s, x, first, last, [&](int64_t at, int64_t u, int64_t n) {
    const Vector centred = load(x.data + at, n) - mtp::load(means + u);
    const Vector rest = load(dy + at, n) - mtp::load(levels + u) - mtp::load(slopes + u) * centred;
    store(dx + at, mtp::load(scales + u) * rest, n);
  });
}

struct Statistics {
  const float *gamma, *mean, *per_deviation;
  float share;
};

void gradients(ffi::ThreadPool& pool, const Shape& s, const float* x, Sizes sizes, const Statistics& used,
               const float* dy, float* dx, float* d_gamma, float* d_beta) {
  const Tiling tiling = s.tiling();
  const int64_t channels = s.channels;
  auto slot = [&](int64_t tile) { return picture_slot(x, s.height, s.width, channels, sizes, tiling.slot(tile)); };
  auto offset = [&](int64_t tile) { return tiling.slot(tile) * s.height * s.width * channels; };
  std::vector<float> parts(tiling.tiles * 2 * channels);
  for_each_tile(pool, tiling.tiles, kCost * s.numbers(), [&](int64_t tile) {
    float* part = parts.data() + tile * 2 * channels;
    tile_sums(s, slot(tile), dy + offset(tile), tiling.first(tile), tiling.last(tile), used.mean, part,
              part + channels);
  });
  std::vector<float> scale(channels), level(channels), slope(channels);
  for (int64_t c = 0; c < channels; ++c) {
    double levels = 0, slopes = 0;
    for (int64_t tile = 0; tile < tiling.tiles; ++tile) {
      levels += parts[tile * 2 * channels + c];
      slopes += parts[(tile * 2 + 1) * channels + c];
    }
    d_beta[c] = levels;
    d_gamma[c] = slopes * used.per_deviation[c];
    scale[c] = used.gamma[c] * used.per_deviation[c];
    level[c] = used.share * d_beta[c];
    slope[c] = used.share * d_gamma[c] * used.per_deviation[c];
  }
  for_each_tile(pool, tiling.tiles, kCost * s.numbers(), [&](int64_t tile) {
    tile_gradient(s, slot(tile), dy + offset(tile), tiling.first(tile), tiling.last(tile), used.mean, scale.data(),
                  level.data(), slope.data(), dx + offset(tile));
  });
}

using Channels = ffi::Buffer<ffi::F32, 1>;
using Number = ffi::Buffer<ffi::F32, 0>;

ffi::Error check(ffi::Span<const int64_t> x, ffi::Span<const int64_t> sizes,
                 std::initializer_list<ffi::Span<const int64_t>> of_channels) {
  if (auto error = check_sizes("batch norm", x[0], sizes); error.failure()) return error;
  for (const auto& shape : of_channels)
    if (shape[0] != x[3])
      return ffi::Error::InvalidArgument("batch norm: all but the maps must have C = " + std::to_string(x[3]) +
                                         " numbers; one is " + text(shape));
  return ffi::Error::Success();
}

ffi::Error Moments(ffi::ThreadPool pool, Map x, PictureSizes sizes, ffi::Result<Channels> mean,
                   ffi::Result<Channels> variance) {
  if (auto error = check(x.dimensions(), sizes.dimensions(), {mean->dimensions(), variance->dimensions()});
      error.failure())
    return error;
  const Shape s(x.dimensions());
  if (s.numbers() == 0) {
    std::fill_n(mean->typed_data(), s.channels, 0.0f);
    std::fill_n(variance->typed_data(), s.channels, 0.0f);
    return ffi::Error::Success();
  }
  moments(pool, s, x.typed_data(), sizes.typed_data(), mean->typed_data(), variance->typed_data());
  return ffi::Error::Success();
}

ffi::Error Gradients(ffi::ThreadPool pool, Map x, PictureSizes sizes, Channels gamma, Channels mean,
                     Channels per_deviation, Number share, Map dy, ffi::Result<Map> dx, ffi::Result<Channels> d_gamma,
                     ffi::Result<Channels> d_beta) {
  if (auto error = check(x.dimensions(), sizes.dimensions(),
                         {gamma.dimensions(), mean.dimensions(), per_deviation.dimensions(), d_gamma->dimensions(),
                          d_beta->dimensions()});
      error.failure())
    return error;
  if (!std::equal(x.dimensions().begin(), x.dimensions().end(), dy.dimensions().begin()))
    return ffi::Error::InvalidArgument("batch norm: map " + text(x.dimensions()) + " and gradient " +
                                       text(dy.dimensions()) + " must have one shape");
  const Shape s(x.dimensions());
  if (s.numbers() == 0) {
    std::fill_n(d_gamma->typed_data(), s.channels, 0.0f);
    std::fill_n(d_beta->typed_data(), s.channels, 0.0f);
    return ffi::Error::Success();
  }
  const Statistics used{gamma.typed_data(), mean.typed_data(), per_deviation.typed_data(), share.typed_data()[0]};
  gradients(pool, s, x.typed_data(), sizes.typed_data(), used, dy.typed_data(), dx->typed_data(),
            d_gamma->typed_data(), d_beta->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(BatchNormMoments, Moments,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Ret<Channels>()
                                  .Ret<Channels>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(BatchNormGradients, Gradients,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Map>()
                                  .Arg<PictureSizes>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Arg<Channels>()
                                  .Arg<Number>()
                                  .Arg<Map>()
                                  .Ret<Map>()
                                  .Ret<Channels>()
                                  .Ret<Channels>());
