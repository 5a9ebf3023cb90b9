#include "runtime.h"

#include <chrono>

#include "../ops/weight.h"

namespace graft {

namespace {
// JavaScript waits when it is so many commands ahead,
constexpr size_t kMostWaiting = 1 << 16;
// or so many bytes on their way into tensors and weights.
constexpr size_t kMostWaitingBytes = size_t{256} << 20;
}  // namespace

std::vector<int64_t> Args::integers() {
  const int64_t count = integer();
  if (count < 0 || static_cast<size_t>(count) > left()) throw std::out_of_range("an operation was given too few arguments");
  std::vector<int64_t> values(static_cast<size_t>(count));
  for (auto& value : values) value = integer();
  return values;
}

const Buffer* Args::tensor() {
  const int64_t id = integer();
  return id < 0 ? nullptr : &runtime_.slot(id);
}

void* Args::outputBytes(size_t bytes) {
  const int64_t id = integer();
  return id < 0 ? nullptr : runtime_.make(id, bytes);
}

const Weight* Args::weight() { return runtime_.weight(integer()); }

Runtime::Runtime(const Isa& chosen, int threads) : isa(chosen), pool(threads), thread_([this] { loop(); }) {}

Runtime::~Runtime() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  packedLeft = {};
  for (auto& buffer : slots_) {
    if (buffer.data != nullptr) arena.give(buffer.data, buffer.bytes);
  }
  for (Weight* weight : weights_) delete weight;
}

void Runtime::abandon() {
  abandoned_.store(true);
  pool.abandon();
}

void Runtime::enqueue(Operation operation, const char* name, const double* args, size_t count) {
  std::unique_lock<std::mutex> lock(mutex_);
  room_.wait(lock, [&] { return waiting_.commands.size() < kMostWaiting; });
  const bool wasEmpty = waiting_.commands.empty();
  waiting_.commands.push_back({operation, name, waiting_.numbers.size(), count, {}, 0});
  waiting_.numbers.insert(waiting_.numbers.end(), args, args + count);
  lock.unlock();
  if (wasEmpty) wake_.notify_one();
}

void Runtime::enqueue(std::function<void()> task, const char* name, size_t bytes) {
  std::unique_lock<std::mutex> lock(mutex_);
  room_.wait(lock, [&] { return waiting_.commands.size() < kMostWaiting && (waitingBytes_ == 0 || waitingBytes_ + bytes <= kMostWaitingBytes); });
  const bool wasEmpty = waiting_.commands.empty();
  waiting_.commands.push_back({nullptr, name, 0, 0, std::move(task), bytes});
  waitingBytes_ += bytes;
  lock.unlock();
  if (wasEmpty) wake_.notify_one();
}

void Runtime::after(std::function<void(std::exception_ptr)> done) {
  enqueue([this, done = std::move(done)] {
    std::exception_ptr error;
    std::swap(error, error_);
    done(error);
  });
}

void Runtime::drain() {
  std::mutex mutex;
  std::condition_variable reached;
  bool isDone = false;
  std::exception_ptr error;
  after([&](std::exception_ptr thrown) {
    std::lock_guard<std::mutex> lock(mutex);
    error = thrown;
    isDone = true;
    reached.notify_one();
  });
  std::unique_lock<std::mutex> lock(mutex);
  reached.wait(lock, [&] { return isDone; });
  if (error != nullptr) std::rethrow_exception(error);
}

void Runtime::loop() {
  Batch batch;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || !waiting_.commands.empty(); });
      if (waiting_.commands.empty() || abandoned_.load()) return;
      std::swap(batch, waiting_);
    }
    room_.notify_one();
    for (auto& command : batch.commands) {
      if (abandoned_.load(std::memory_order_relaxed)) return;
      execute(command, batch.numbers.data());
      if (command.bytes == 0) continue;
      command.task = nullptr;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        waitingBytes_ -= command.bytes;
      }
      room_.notify_one();
    }
    batch.clear();
  }
}

// An operation that throws leaves its outputs unmade; what reads them throws in turn, and the first error is what is told.
void Runtime::execute(const Command& command, const double* numbers) {
  made_.clear();
  try {
    if (command.task) {
      command.task();
      return;
    }
    Args args(*this, numbers + command.from, command.count);
    const auto began = std::chrono::steady_clock::now();
    command.operation(*this, args);
    Spent& spent = profile_[command.name];
    spent.calls++;
    spent.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  } catch (const std::bad_alloc&) {
    fail(std::string("out of memory in ") + command.name);
  } catch (const std::exception& error) {
    fail(std::string(command.name) + ": " + error.what());
  } catch (...) {
    fail(std::string(command.name) + " failed");
  }
}

std::map<std::string, Runtime::Spent> Runtime::takeProfile() {
  std::map<std::string, Spent> taken(profile_.begin(), profile_.end());
  profile_.clear();
  return taken;
}

void Runtime::fail(const std::string& message) {
  for (const int64_t id : made_) release(id);
  if (error_ == nullptr) error_ = std::make_exception_ptr(std::runtime_error(message));
}

Buffer& Runtime::slot(int64_t id) {
  if (id < 0 || static_cast<size_t>(id) >= slots_.size() || slots_[static_cast<size_t>(id)].data == nullptr) {
    throw std::runtime_error("tensor " + std::to_string(id) + " has no value: the operation that makes it failed");
  }
  return slots_[static_cast<size_t>(id)];
}

void* Runtime::make(int64_t id, size_t bytes) {
  void* block = arena.take(bytes);
  adopt(id, block, bytes);
  made_.push_back(id);
  return block;
}

void Runtime::adopt(int64_t id, void* block, size_t bytes) {
  if (static_cast<size_t>(id) >= slots_.size()) slots_.resize(static_cast<size_t>(id) * 2 + 64);
  Buffer& buffer = slots_[static_cast<size_t>(id)];
  if (buffer.data != nullptr) arena.give(buffer.data, buffer.bytes);
  buffer = Buffer{block, bytes, nextSerial_++};
}

void Runtime::release(int64_t id) {
  if (id < 0 || static_cast<size_t>(id) >= slots_.size()) return;
  Buffer& buffer = slots_[static_cast<size_t>(id)];
  if (buffer.data != nullptr) arena.give(buffer.data, buffer.bytes);
  buffer = Buffer{};
}

const Weight* Runtime::weight(int64_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= weights_.size() || weights_[static_cast<size_t>(id)] == nullptr) throw std::runtime_error("a frozen weight was used after it was disposed");
  return weights_[static_cast<size_t>(id)];
}

void Runtime::adoptWeight(int64_t id, Weight* weight) {
  if (static_cast<size_t>(id) >= weights_.size()) weights_.resize(static_cast<size_t>(id) * 2 + 64, nullptr);
  weights_[static_cast<size_t>(id)] = weight;
}

void Runtime::releaseWeight(int64_t id) {
  // One that could not be made has no place.
  if (id < 0 || static_cast<size_t>(id) >= weights_.size()) return;
  delete weights_[static_cast<size_t>(id)];
  weights_[static_cast<size_t>(id)] = nullptr;
}

}  // namespace graft
