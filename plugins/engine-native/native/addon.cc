// What JavaScript sees. Numbers of an operation travel through one shared Float64Array, so that a call costs well under a
// microsecond; tensors and weights are named by ids that JavaScript gives out.
#include <napi.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>

#include "ops/mapping.h"
#include "ops/weight.h"
#include "runtime/runtime.h"

namespace graft {
namespace {

// The one engine of the process, and the environment (the main thread or a worker thread) that started it and alone may use it. It
// ends with the environment; where the process leaves without ending that (process.exit, an uncaught exception), with the
// library's statics.
struct Engine {
  std::atomic<napi_env> owner{nullptr};
  std::unique_ptr<Runtime> runtime;
  // Keeps promises on the owner's thread, and the process alive while there are any to keep.
  Napi::ThreadSafeFunction settle;
  int64_t unsettled = 0;
  Napi::Reference<Napi::Float64Array> argumentReference;
  double* arguments = nullptr;
  size_t argumentRoom = 0;

  ~Engine() { abandon(); }
  void abandon() {
    if (runtime != nullptr) runtime->abandon();
    runtime.reset();
  }
} engine;

bool owns(const Napi::Env& env) { return engine.owner == static_cast<napi_env>(env) && engine.runtime != nullptr; }

Runtime& running(const Napi::Env& env) {
  if (!owns(env)) throw Napi::Error::New(env, "the native engine was not started in this thread");
  return *engine.runtime;
}

int64_t integerAt(const Napi::CallbackInfo& info, size_t i) { return info[i].As<Napi::Number>().Int64Value(); }

Napi::Value isas(const Napi::CallbackInfo& info) {
  const IsaList found = availableIsas();
  Napi::Array names = Napi::Array::New(info.Env());
  for (int i = 0; i < found.count; i++) names.Set(static_cast<uint32_t>(i), found.list[i]->name);
  return names;
}

void leave(void*) {
  engine.abandon();
  engine.argumentReference.Reset();
  engine.owner = nullptr;
}

void own(const Napi::Env& env) {
  napi_env owner = nullptr;
  if (!engine.owner.compare_exchange_strong(owner, env)) {
    if (owner == static_cast<napi_env>(env)) return;
    throw Napi::Error::New(env, "the native engine runs in another thread of this process, and only one can use it");
  }
  engine.unsettled = 0;
  engine.settle = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "graft native read", 0, 1);
  engine.settle.Unref(env);
  // The last hook added is the first to run: the executing thread ends before what it settles promises with.
  napi_add_env_cleanup_hook(env, leave, nullptr);
}

// start(isa name, threads)
void start(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const IsaList found = availableIsas();
  for (int i = 0; i < found.count; i++) {
    if (name != found.list[i]->name) continue;
    own(info.Env());
    engine.runtime.reset();
    engine.runtime = std::make_unique<Runtime>(*found.list[i], static_cast<int>(integerAt(info, 1)));
    return;
  }
  throw Napi::Error::New(info.Env(), "this processor does not run " + name);
}

void stop(const Napi::CallbackInfo& info) {
  if (owns(info.Env())) engine.runtime.reset();
}

// Names of all operations, in the order of their numbers.
Napi::Value operationNames(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  for (const auto& operation : operations()) names.Set(names.Length(), operation.name);
  return names;
}

// setArguments(Float64Array): where `run` reads from.
void setArguments(const Napi::CallbackInfo& info) {
  running(info.Env());
  auto array = info[0].As<Napi::Float64Array>();
  engine.argumentReference = Napi::Persistent(array);
  engine.argumentReference.SuppressDestruct();
  engine.arguments = array.Data();
  engine.argumentRoom = array.ElementLength();
}

// run(operation number, count of arguments)
void run(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const auto& list = operations();
  const size_t number = info[0].As<Napi::Number>().Uint32Value(), count = info[1].As<Napi::Number>().Uint32Value();
  if (number >= list.size() || count > engine.argumentRoom) throw Napi::Error::New(info.Env(), "no such operation");
  rt.enqueue(list[number].run, list[number].name, engine.arguments, count);
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
  void* block = rt.arena.take(from.size);
  // An array without elements has no address.
  if (from.size > 0) std::memcpy(block, from.data, from.size);
  rt.enqueue([&rt, id, block, size = from.size] { rt.adopt(id, block, size); }, "write", from.size);
}

void copyOut(Runtime& rt, int64_t id, const Bytes& to) {
  const Buffer& buffer = rt.slot(id);
  const size_t size = to.size < buffer.bytes ? to.size : buffer.bytes;
  if (size > 0) std::memcpy(to.data, buffer.data, size);
}

// read(id, typed array): waits for the tensor and copies it.
void read(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const Bytes to = bytesOf(info[1]);
  rt.drain();
  copyOut(rt, integerAt(info, 0), to);
}

// One promise that is kept when the queue has come so far.
struct Pending {
  Napi::Promise::Deferred deferred;
  Napi::ObjectReference array;
  std::string failure;

  void keep(const Napi::Env& env) {
    if (failure.empty()) deferred.Resolve(array.IsEmpty() ? env.Undefined() : Napi::Value(array.Value()));
    else deferred.Reject(Napi::Error::New(env, failure).Value());
    if (--engine.unsettled == 0) engine.settle.Unref(env);
    delete this;
  }
};

// readAsync(id, typed array) -> promise; id -1: of nothing but that all before is done.
Napi::Value readAsync(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  Runtime& rt = running(env);
  const int64_t id = integerAt(info, 0);
  const Bytes to = id < 0 ? Bytes{nullptr, 0} : bytesOf(info[1]);
  auto* pending = new Pending{Napi::Promise::Deferred::New(env), {}, {}};
  if (id >= 0) pending->array = Napi::Persistent(info[1].As<Napi::Object>());
  if (engine.unsettled++ == 0) engine.settle.Ref(env);
  Napi::Promise promise = pending->deferred.Promise();
  rt.after([&rt, id, to, pending](std::exception_ptr error) {
    try {
      if (error != nullptr) std::rethrow_exception(error);
      if (id >= 0) copyOut(rt, id, to);
    } catch (const std::exception& thrown) {
      pending->failure = thrown.what();
    }
    engine.settle.BlockingCall(pending, [](Napi::Env owner, Napi::Function, Pending* done) { done->keep(owner); });
  });
  return promise;
}

void release(const Napi::CallbackInfo& info) {
  if (!owns(info.Env())) return;
  Runtime& rt = *engine.runtime;
  const int64_t id = integerAt(info, 0);
  rt.enqueue([&rt, id] { rt.release(id); }, "release");
}

void enqueueWeight(Runtime& rt, int64_t id, std::unique_ptr<Storage> from, Stored stored, Format format, int64_t rows, int64_t columns, bool packable, size_t held) {
  // A task must be copyable; this one runs once.
  auto storage = std::make_shared<std::unique_ptr<Storage>>(std::move(from));
  rt.enqueue(
      [=, &rt] {
        auto weight = makeWeight(rt.isa, rt.pool, std::move(*storage), stored, format, rows, columns);
        weight->packable = weight->packable && packable;
        rt.adoptWeight(id, weight.release());
      },
      "freeze", held);
}

// freeze(id, bytes, stored as, format, rows, columns, packable)
void freeze(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const Bytes from = bytesOf(info[1]);
  auto owned = std::make_unique<OwnedStorage>(from.size);
  if (from.size > 0) std::memcpy(owned->writable(), from.data, from.size);
  enqueueWeight(rt, integerAt(info, 0), std::move(owned), static_cast<Stored>(integerAt(info, 2)), static_cast<Format>(integerAt(info, 3)), integerAt(info, 4), integerAt(info, 5), info[6].As<Napi::Boolean>(), from.size);
}

// freezeFile(id, path, offset, bytes, stored as, format, rows, columns, mapped): read into memory, or mapped and read as it is used.
void freezeFile(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  const std::string path = info[1].As<Napi::String>();
  const int64_t offset = integerAt(info, 2), bytes = integerAt(info, 3);
  const bool mapped = info[8].As<Napi::Boolean>();
  auto storage = mapped ? mapFile(path, offset, bytes) : readFile(path, offset, bytes);
  enqueueWeight(rt, integerAt(info, 0), std::move(storage), static_cast<Stored>(integerAt(info, 4)), static_cast<Format>(integerAt(info, 5)), integerAt(info, 6), integerAt(info, 7), !mapped, mapped ? 0 : static_cast<size_t>(bytes));
}

void releaseWeight(const Napi::CallbackInfo& info) {
  if (!owns(info.Env())) return;
  Runtime& rt = *engine.runtime;
  const int64_t id = integerAt(info, 0);
  rt.enqueue([&rt, id] { rt.releaseWeight(id); }, "release weight");
}

// Waits until everything is done.
void drain(const Napi::CallbackInfo& info) { running(info.Env()).drain(); }

// profile() -> { name: [calls, seconds] } since it was last asked for
Napi::Value profile(const Napi::CallbackInfo& info) {
  Runtime& rt = running(info.Env());
  Napi::Object spent = Napi::Object::New(info.Env());
  rt.drain();
  for (const auto& [name, each] : rt.takeProfile()) {
    Napi::Array pair = Napi::Array::New(info.Env(), 2);
    pair.Set(0u, static_cast<double>(each.calls));
    pair.Set(1u, each.seconds);
    spent.Set(name, pair);
  }
  return spent;
}

Napi::Value memory(const Napi::CallbackInfo& info) {
  Napi::Object counters = Napi::Object::New(info.Env());
  if (!owns(info.Env())) return counters;
  const Arena::Counters counted = engine.runtime->arena.counters();
  counters.Set("live", static_cast<double>(counted.live));
  counters.Set("cached", static_cast<double>(counted.cached));
  counters.Set("peak", static_cast<double>(counted.peak));
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
  add("profile", profile);
  add("memory", memory);
  add("trim", trim);
  return exports;
}

}  // namespace
}  // namespace graft

using graft::init;
NODE_API_MODULE(graft_native, init)
