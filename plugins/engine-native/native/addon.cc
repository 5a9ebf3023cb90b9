// What JavaScript sees. Numbers of an operation travel through one shared Float64Array, so that a call costs well under a
// microsecond; tensors and weights are named by ids that JavaScript gives out.
#include <napi.h>

#include <cstring>
#include <memory>
#include <string>

#include "ops/mapping.h"
#include "ops/weight.h"
#include "runtime/runtime.h"

namespace graft {
namespace {

std::unique_ptr<Runtime> runtime;
Napi::Reference<Napi::Float64Array> argumentReference;
double* arguments = nullptr;
size_t argumentRoom = 0;

Runtime& running(const Napi::Env& env) {
  if (runtime == nullptr) throw Napi::Error::New(env, "the native engine is not running");
  return *runtime;
}

int64_t integerAt(const Napi::CallbackInfo& info, size_t i) { return info[i].As<Napi::Number>().Int64Value(); }

// What a drained queue has thrown goes on as a JavaScript error.
template <class Run>
void guarded(const Napi::Env& env, const Run& run) {
  try {
    run();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

Napi::Value isas(const Napi::CallbackInfo& info) {
  const IsaList found = availableIsas();
  Napi::Array names = Napi::Array::New(info.Env());
  for (int i = 0; i < found.count; i++) names.Set(static_cast<uint32_t>(i), found.list[i]->name);
  return names;
}

// start(isa name, threads)
void start(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const IsaList found = availableIsas();
  for (int i = 0; i < found.count; i++) {
    if (name != found.list[i]->name) continue;
    runtime.reset();
    runtime = std::make_unique<Runtime>(*found.list[i], static_cast<int>(integerAt(info, 1)));
    return;
  }
  throw Napi::Error::New(info.Env(), "this processor does not run " + name);
}

void stop(const Napi::CallbackInfo&) { runtime.reset(); }

// Names of all operations, in the order of their numbers.
Napi::Value operationNames(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  for (const auto& operation : operations()) names.Set(names.Length(), operation.name);
  return names;
}

// setArguments(Float64Array): where `run` reads from.
void setArguments(const Napi::CallbackInfo& info) {
  auto array = info[0].As<Napi::Float64Array>();
  argumentReference = Napi::Persistent(array);
  argumentReference.SuppressDestruct();
  arguments = array.Data();
  argumentRoom = array.ElementLength();
}

// run(operation number, count of arguments)
void run(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const auto& list = operations();
  const size_t number = info[0].As<Napi::Number>().Uint32Value(), count = info[1].As<Napi::Number>().Uint32Value();
  if (number >= list.size() || count > argumentRoom) throw Napi::Error::New(info.Env(), "no such operation");
  rt.enqueue(list[number].run, list[number].name, arguments, count);
}

struct Bytes {
  void* data;
  size_t size;
};

Bytes bytesOf(const Napi::Value& value) {
  auto array = value.As<Napi::TypedArray>();
  auto buffer = array.ArrayBuffer();
  return {static_cast<char*>(buffer.Data()) + array.ByteOffset(), array.ByteLength()};
}

// write(id, typed array): a tensor with a copy of these values.
void write(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const int64_t id = integerAt(info, 0);
  const Bytes from = bytesOf(info[1]);
  guarded(info.Env(), [&] {
    void* block = rt.arena.take(from.size);
    std::memcpy(block, from.data, from.size);
    rt.enqueue([&rt, id, block, size = from.size] { rt.adopt(id, block, size); }, "write");
  });
}

void copyOut(Runtime& rt, int64_t id, const Bytes& to) {
  const Buffer& buffer = rt.slot(id);
  std::memcpy(to.data, buffer.data, to.size < buffer.bytes ? to.size : buffer.bytes);
}

// read(id, typed array): waits for the tensor and copies it.
void read(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const Bytes to = bytesOf(info[1]);
  guarded(info.Env(), [&] {
    rt.drain();
    copyOut(rt, integerAt(info, 0), to);
  });
}

// One promise that is kept when the queue has come so far.
struct Pending {
  Napi::Promise::Deferred deferred;
  Napi::ThreadSafeFunction settle;
  Napi::ObjectReference array;
  std::string failure;
};

// readAsync(id, typed array) -> promise; id -1: of nothing but that all before is done.
Napi::Value readAsync(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Runtime& rt = running(env);
  const int64_t id = integerAt(info, 0);
  const Bytes to = id < 0 ? Bytes{nullptr, 0} : bytesOf(info[1]);
  auto* pending = new Pending{Napi::Promise::Deferred::New(env), {}, {}, {}};
  if (id >= 0) pending->array = Napi::Persistent(info[1].As<Napi::Object>());
  pending->settle = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "graft native read", 0, 1);
  Napi::Promise promise = pending->deferred.Promise();
  rt.after([&rt, id, to, pending](std::exception_ptr error) {
    try {
      if (error != nullptr) std::rethrow_exception(error);
      if (id >= 0) copyOut(rt, id, to);
    } catch (const std::exception& thrown) {
      pending->failure = thrown.what();
    }
    Napi::ThreadSafeFunction settle = pending->settle;
    settle.BlockingCall(pending, [](Napi::Env env, Napi::Function, Pending* done) {
      if (done->failure.empty()) done->deferred.Resolve(done->array.IsEmpty() ? env.Undefined() : Napi::Value(done->array.Value()));
      else done->deferred.Reject(Napi::Error::New(env, done->failure).Value());
      delete done;
    });
    settle.Release();
  });
  return promise;
}

void release(const Napi::CallbackInfo& info) {
  if (runtime == nullptr) return;
  Runtime& rt = *runtime;
  const int64_t id = integerAt(info, 0);
  rt.enqueue([&rt, id] { rt.release(id); }, "release");
}

void enqueueWeight(Runtime& rt, int64_t id, std::shared_ptr<std::unique_ptr<Storage>> storage, Stored stored, Format format, int64_t rows, int64_t columns, bool packable) {
  rt.enqueue(
      [=, &rt] {
        auto weight = makeWeight(rt.isa, rt.pool, std::move(*storage), stored, format, rows, columns);
        weight->packable = weight->packable && packable;
        rt.adoptWeight(id, weight.release());
      },
      "freeze");
}

// freeze(id, bytes, stored as, format, rows, columns, packable)
void freeze(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const Bytes from = bytesOf(info[1]);
  guarded(info.Env(), [&] {
    auto owned = std::make_unique<OwnedStorage>(from.size);
    std::memcpy(owned->writable(), from.data, from.size);
    enqueueWeight(rt, integerAt(info, 0), std::make_shared<std::unique_ptr<Storage>>(std::move(owned)), static_cast<Stored>(integerAt(info, 2)), static_cast<Format>(integerAt(info, 3)), integerAt(info, 4), integerAt(info, 5), info[6].As<Napi::Boolean>());
  });
}

// freezeFile(id, path, offset, bytes, stored as, format, rows, columns, mapped): read into memory, or mapped and read as it is used.
void freezeFile(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const std::string path = info[1].As<Napi::String>();
  const int64_t offset = integerAt(info, 2), bytes = integerAt(info, 3);
  const bool mapped = info[8].As<Napi::Boolean>();
  guarded(info.Env(), [&] {
    auto storage = mapped ? mapFile(path, offset, bytes) : readFile(path, offset, bytes);
    enqueueWeight(rt, integerAt(info, 0), std::make_shared<std::unique_ptr<Storage>>(std::move(storage)), static_cast<Stored>(integerAt(info, 4)), static_cast<Format>(integerAt(info, 5)), integerAt(info, 6), integerAt(info, 7), !mapped);
  });
}

void releaseWeight(const Napi::CallbackInfo& info) {
  if (runtime == nullptr) return;
  Runtime& rt = *runtime;
  const int64_t id = integerAt(info, 0);
  rt.enqueue([&rt, id] { rt.releaseWeight(id); }, "release weight");
}

// Waits until everything is done.
void drain(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { running(info.Env()).drain(); });
}

Napi::Value memory(const Napi::CallbackInfo& info) {
  Napi::Object counters = Napi::Object::New(info.Env());
  if (runtime == nullptr) return counters;
  counters.Set("live", static_cast<double>(runtime->arena.live()));
  counters.Set("cached", static_cast<double>(runtime->arena.cached()));
  counters.Set("peak", static_cast<double>(runtime->arena.peak()));
  return counters;
}

void trim(const Napi::CallbackInfo& info) { running(info.Env()).arena.trim(); }

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, auto function) { exports.Set(name, Napi::Function::New(env, function, name)); };
  add("isas", isas);
  add("start", start);
  add("stop", stop);
  add("operationNames", operationNames);
  add("setArguments", setArguments);
  add("run", run);
  add("write", write);
  add("read", read);
  add("readAsync", readAsync);
  add("release", release);
  add("freeze", freeze);
  add("freezeFile", freezeFile);
  add("releaseWeight", releaseWeight);
  add("drain", drain);
  add("memory", memory);
  add("trim", trim);
  return exports;
}

}  // namespace
}  // namespace graft

using graft::init;
NODE_API_MODULE(graft_native, init)
