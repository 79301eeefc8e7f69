// The mount without the device, as an object of JavaScript: operations in, their outcomes to a callback. The shapes are those
// of src/engine/portable/addon.ts.
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <string_view>
#include <utility>

#include "addon.h"
#include "addon_values.h"
#include "portable.h"

namespace vreserve {

namespace {

// What JavaScript waits with; made and deleted on its thread.
struct Waiting {
  Napi::FunctionReference done;
  Napi::ObjectReference data;  // keeps the memory
};

double at(const Napi::Object& object, const char* name, double missing = 0) {
  const Napi::Value value = object.Get(name);
  return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : missing;
}

template <typename T>
void set_field(const Napi::Object& object, const char* name, std::uint32_t bit, fuse::SetattrIn& set, T& field) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) return;
  set.valid |= bit;
  field = static_cast<T>(value.As<Napi::Number>().Int64Value());
}

void set_time(const Napi::Object& object, const char* name, std::uint32_t bit, fuse::SetattrIn& set, std::uint64_t& seconds,
              std::uint32_t& nanoseconds) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) return;
  const std::int64_t ms = value.As<Napi::Number>().Int64Value();
  std::int64_t whole = ms / 1000;
  if (ms % 1000 < 0) --whole;
  set.valid |= bit;
  seconds = static_cast<std::uint64_t>(whole);
  nanoseconds = static_cast<std::uint32_t>(ms - whole * 1000) * 1'000'000U;
}

fuse::SetattrIn set_of(const Napi::Object& object) {
  fuse::SetattrIn set{};
  set_field(object, "setMode", fuse::FATTR_MODE, set, set.mode);
  set_field(object, "setUid", fuse::FATTR_UID, set, set.uid);
  set_field(object, "setGid", fuse::FATTR_GID, set, set.gid);
  set_field(object, "setSize", fuse::FATTR_SIZE, set, set.size);
  set_time(object, "setAtimeMs", fuse::FATTR_ATIME, set, set.atime, set.atimensec);
  set_time(object, "setMtimeMs", fuse::FATTR_MTIME, set, set.mtime, set.mtimensec);
  return set;
}

Operation operation_of(const Napi::Object& object) {
  Operation operation;
  operation.opcode = static_cast<std::uint32_t>(at(object, "opcode"));
  operation.path = text(object.Get("path"));
  operation.to = text(object.Get("to"));
  operation.handle = static_cast<std::uint64_t>(at(object, "handle"));
  operation.mode = static_cast<std::uint32_t>(at(object, "mode"));
  operation.flags = static_cast<std::uint32_t>(at(object, "flags"));
  operation.rdev = static_cast<std::uint64_t>(at(object, "rdev"));
  operation.offset = static_cast<std::int64_t>(at(object, "offsetBytes"));
  operation.size = static_cast<std::size_t>(at(object, "lengthBytes"));
  if (operation.opcode == fuse::SETATTR) operation.set = set_of(object);
  if (const Napi::Value data = object.Get("data"); data.IsBuffer()) {
    auto buffer = data.As<Napi::Buffer<char>>();
    operation.data = buffer.Data();
    operation.size = buffer.Length();
  }
  return operation;
}

double ms_of(std::uint64_t seconds, std::uint32_t nanoseconds) noexcept {
  return static_cast<double>(static_cast<std::int64_t>(seconds)) * 1000 + nanoseconds / 1'000'000;
}

template <std::size_t N>
Napi::Value numbers(Napi::Env env, const std::array<double, N>& values) {
  auto array = Napi::Float64Array::New(env, N);
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Value value_of(Napi::Env env, const fuse::Attr& attr) {
  return numbers<12>(env, {static_cast<double>(attr.mode), static_cast<double>(attr.uid), static_cast<double>(attr.gid),
                           static_cast<double>(attr.size), static_cast<double>(attr.nlink), static_cast<double>(attr.ino),
                           static_cast<double>(attr.rdev), static_cast<double>(attr.blksize),
                           static_cast<double>(attr.blocks), ms_of(attr.atime, attr.atimensec),
                           ms_of(attr.mtime, attr.mtimensec), ms_of(attr.ctime, attr.ctimensec)});
}

Napi::Value value_of(Napi::Env env, const fuse::StatfsOut& out) {
  return numbers<7>(env, {static_cast<double>(out.bsize), static_cast<double>(out.blocks), static_cast<double>(out.bfree),
                          static_cast<double>(out.bavail), static_cast<double>(out.files), static_cast<double>(out.ffree),
                          static_cast<double>(out.namelen)});
}

Napi::Value value_of(Napi::Env env, const std::vector<Listed>& names) {
  auto array = Napi::Array::New(env, names.size());
  for (std::uint32_t i = 0; i < names.size(); ++i) {
    auto entry = Napi::Object::New(env);
    entry.Set("name", names[i].name);
    entry.Set("number", Napi::Number::New(env, static_cast<double>(names[i].number)));
    entry.Set("type", Napi::Number::New(env, names[i].type));
    array.Set(i, entry);
  }
  return array;
}

Napi::Value value_of(Napi::Env env, std::uint32_t opcode, const Outcome& outcome) {
  if (outcome.result < 0) return env.Undefined();
  switch (opcode) {
    case fuse::GETATTR: return value_of(env, outcome.attr);
    case fuse::STATFS: return value_of(env, outcome.statfs);
    case fuse::READDIR: return value_of(env, outcome.names);
    case fuse::READLINK:
    case fuse::GETXATTR:
    case fuse::LISTXATTR: return Napi::Buffer<char>::Copy(env, outcome.text.data(), outcome.text.size());
    default: return env.Undefined();
  }
}

class PortableObject : public Napi::ObjectWrap<PortableObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Portable",
                       {StaticMethod("claim", &PortableObject::claim), InstanceMethod("serve", &PortableObject::serve),
                        InstanceMethod("perform", &PortableObject::perform),
                        InstanceMethod("runs", &PortableObject::runs), InstanceMethod("stop", &PortableObject::stop),
                        InstanceMethod("release", &PortableObject::release)});
  }

  // The engine must be kept for as long as this is.
  explicit PortableObject(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<PortableObject>(info), engine_(Napi::Persistent(info[0].As<Napi::Object>())),
        portable_(std::make_unique<Portable>(engine_of(info[0]))) {}

 private:
  static Napi::Value claim(const Napi::CallbackInfo& info) {
    return Napi::String::New(info.Env(), claim_fuse_loop(text(info[0])));
  }

  Napi::Value serve(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    on_virtual_ = Napi::ThreadSafeFunction::New(env, info[0].As<Napi::Function>(), "onVirtual", 0, 1);
    on_end_ = Napi::ThreadSafeFunction::New(env, info[1].As<Napi::Function>(), "onEnd", 0, 1);
    on_done_ = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "done", 0, 1);
    portable_->serve(
        [this](VirtualQuestion&& question) {
          if (released_) return;
          auto shared = std::make_shared<VirtualQuestion>(std::move(question));
          on_virtual_.NonBlockingCall([shared](Napi::Env inner, Napi::Function callback) {
            callback.Call({value_of(inner, *shared)});
          });
        },
        [this] { if (!released_) on_end_.NonBlockingCall([](Napi::Env, Napi::Function callback) { callback.Call({}); }); });
    return env.Undefined();
  }

  Napi::Value perform(const Napi::CallbackInfo& info) {
    const auto object = info[0].As<Napi::Object>();
    Operation operation = operation_of(object);
    auto* const waiting = new Waiting{Napi::Persistent(info[1].As<Napi::Function>()), {}};
    if (const Napi::Value data = object.Get("data"); data.IsBuffer()) waiting->data = Napi::Persistent(data.As<Napi::Object>());
    operation.done = [this, waiting, opcode = operation.opcode](Outcome&& outcome) {
      if (released_) return;
      auto shared = std::make_shared<Outcome>(std::move(outcome));
      on_done_.NonBlockingCall([waiting, opcode, shared](Napi::Env env, Napi::Function) {
        const std::unique_ptr<Waiting> own(waiting);
        const Napi::HandleScope scope(env);
        own->done.Call({Napi::Number::New(env, static_cast<double>(shared->result)), value_of(env, opcode, *shared)});
      });
    };
    portable_->perform(std::move(operation));
    return info.Env().Undefined();
  }

  Napi::Value runs(const Napi::CallbackInfo& info) { return Napi::Boolean::New(info.Env(), fuse_loop_runs()); }

  Napi::Value stop(const Napi::CallbackInfo& info) {
    stop_fuse_loop();
    return info.Env().Undefined();
  }

  Napi::Value release(const Napi::CallbackInfo& info) {
    if (released_.exchange(true) || !on_done_) return info.Env().Undefined();
    on_virtual_.Release();
    on_end_.Release();
    on_done_.Release();
    return info.Env().Undefined();
  }

  Napi::ObjectReference engine_;
  std::atomic<bool> released_{false};
  Napi::ThreadSafeFunction on_virtual_;
  Napi::ThreadSafeFunction on_end_;
  Napi::ThreadSafeFunction on_done_;
  std::unique_ptr<Portable> portable_;  // declared last: its threads use the rest
};

}  // namespace

Napi::Function define_portable(Napi::Env env) { return PortableObject::define(env); }

}  // namespace vreserve
