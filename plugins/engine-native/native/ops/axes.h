// Walking over the axes of tensors.
#pragma once
#include <array>
#include <cstdint>

namespace graft {

// tfjs has 6 at most.
constexpr int kMostAxes = 8;

// Positions of the elements of `rank` axes, the last one fastest, in tensors with steps of their own along each axis.
template <int kTensors>
class Odometer {
 public:
  Odometer(int rank, const int64_t* size, const std::array<const int64_t*, kTensors>& steps, int64_t from) : rank_(rank), size_(size), steps_(steps) {
    for (int axis = rank - 1; axis >= 0; axis--) {
      at_[axis] = from % size[axis];
      from /= size[axis];
      for (int t = 0; t < kTensors; t++) offset[t] += at_[axis] * steps[t][axis];
    }
  }

  void next() {
    for (int axis = rank_ - 1; axis >= 0; axis--) {
      for (int t = 0; t < kTensors; t++) offset[t] += steps_[t][axis];
      if (++at_[axis] < size_[axis]) return;
      at_[axis] = 0;
      for (int t = 0; t < kTensors; t++) offset[t] -= steps_[t][axis] * size_[axis];
    }
  }

  int64_t offset[kTensors] = {};

 private:
  int rank_;
  const int64_t* size_;
  std::array<const int64_t*, kTensors> steps_;
  int64_t at_[kMostAxes] = {};
};

}  // namespace graft
