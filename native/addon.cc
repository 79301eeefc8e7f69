// The addon: values in, values out. The only file that knows Node; the shapes are those of src/engine/engine.ts.
#include <napi.h>
#include <sys/file.h>

#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "engine.h"
#include "executor.h"
#include "ops.h"

namespace vreserve {

namespace {

std::string name_of(int error) {
  const char* const name = ::strerrorname_np(error);
  return name == nullptr ? "E" + std::to_string(error) : name;
}

int number_of(const std::string& name) {
  for (int error = 1; error < 134; ++error) {
    const char* const known = ::strerrorname_np(error);
    if (known != nullptr && name == known) return error;
  }
  return EIO;
}

// error: -errno.
void fail(Napi::Env env, int error, const std::string& why) {
  Napi::Error thrown = Napi::Error::New(env, why + ": " + std::strerror(-error));
  thrown.Set("code", name_of(-error));
  thrown.ThrowAsJavaScriptException();
}

Napi::Value number(Napi::Env env, std::int64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

std::int64_t integer(const Napi::Value& value) { return value.IsNumber() ? value.As<Napi::Number>().Int64Value() : 0; }

std::int64_t limit(const Napi::Value& value) {
  const std::int64_t given = integer(value);
  return given < 0 ? kUnlimited : given;
}

std::string text(const Napi::Value& value) { return value.IsString() ? value.As<Napi::String>().Utf8Value() : ""; }

bool truth(const Napi::Value& value) { return value.IsBoolean() && value.As<Napi::Boolean>().Value(); }

LotSpec lot_spec(const Napi::Value& value) {
  LotSpec spec;
  const auto object = value.As<Napi::Object>();
  spec.id = static_cast<LotId>(integer(object.Get("id")));
  spec.name = text(object.Get("name"));
  const auto parents = object.Get("parents").As<Napi::Array>();
  for (std::uint32_t i = 0; i < parents.Length(); ++i) spec.parents.push_back(static_cast<LotId>(integer(parents.Get(i))));
  spec.policy.dedicated_bytes = integer(object.Get("dedicatedBytes"));
  spec.policy.opportunistic_bytes = limit(object.Get("opportunisticBytes"));
  spec.policy.max_objects = limit(object.Get("maxObjects"));
  spec.policy.sets_aside = truth(object.Get("setsAside"));
  spec.policy.may_grow = truth(object.Get("mayGrow"));
  return spec;
}

Napi::Object value_of(Napi::Env env, const LotUsage& usage) {
  auto object = Napi::Object::New(env);
  object.Set("id", number(env, usage.id));
  object.Set("bytes", number(env, usage.bytes));
  object.Set("objects", number(env, usage.objects));
  object.Set("pendingObjects", number(env, usage.pending_objects));
  object.Set("pendingBytes", number(env, usage.pending_bytes));
  return object;
}

Napi::Object value_of(Napi::Env env, const PoolUsage& pool) {
  auto object = Napi::Object::New(env);
  object.Set("capacityBytes", number(env, pool.capacity));
  object.Set("freeBytes", number(env, pool.free));
  object.Set("setAsideBytes", number(env, pool.set_aside));
  object.Set("headroomBytes", number(env, pool.headroom));
  object.Set("usedBytes", number(env, pool.used));
  object.Set("marginBytes", number(env, pool.margin));
  object.Set("shortBytes", number(env, pool.short_bytes));
  object.Set("drift", number(env, pool.drift));
  return object;
}

Napi::Object value_of(Napi::Env env, const Admission& admission) {
  auto object = Napi::Object::New(env);
  object.Set("granted", Napi::Boolean::New(env, admission.error == 0));
  if (admission.error == 0) {
    object.Set("usage", value_of(env, admission.usage));
    return object;
  }
  object.Set("errno", name_of(admission.error));
  object.Set("availableBytes", number(env, admission.available));
  object.Set("heldBytes", number(env, admission.held));
  if (!admission.path.empty()) object.Set("path", admission.path);
  return object;
}

Napi::Object value_of(Napi::Env env, const CountReport& report) {
  auto object = Napi::Object::New(env);
  auto lots = Napi::Array::New(env, report.lots.size());
  for (std::uint32_t i = 0; i < report.lots.size(); ++i) {
    const CountedLot& lot = report.lots[i];
    auto entry = Napi::Object::New(env);
    entry.Set("id", number(env, lot.id));
    entry.Set("bytes", number(env, lot.counted.bytes));
    entry.Set("objects", number(env, lot.counted.objects));
    entry.Set("recordedBytes", number(env, lot.recorded.bytes));
    entry.Set("recordedObjects", number(env, lot.recorded.objects));
    entry.Set("exact", Napi::Boolean::New(env, lot.exact));
    lots.Set(i, entry);
  }
  object.Set("lots", lots);
  auto straddling = Napi::Array::New(env, report.straddling.size());
  for (std::uint32_t i = 0; i < report.straddling.size(); ++i) {
    auto entry = Napi::Object::New(env);
    entry.Set("path", report.straddling[i].path);
    entry.Set("id", number(env, report.straddling[i].lot));
    straddling.Set(i, entry);
  }
  object.Set("straddling", straddling);
  return object;
}

constexpr std::array kOps{"lookup", "list", "open", "read", "write", "flush", "release", "setxattr"};
constexpr std::array kKinds{"directory", "snapshot", "stream", "control"};

VirtualKind kind_of(const std::string& name) {
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (name == kKinds[i]) return static_cast<VirtualKind>(i);
  }
  return VirtualKind::snapshot;
}

Napi::Object value_of(Napi::Env env, const Caller& caller) {
  auto object = Napi::Object::New(env);
  object.Set("pid", number(env, caller.pid));
  object.Set("uid", number(env, caller.uid));
  object.Set("gid", number(env, caller.gid));
  auto groups = Napi::Array::New(env, caller.groups.size());
  for (std::uint32_t i = 0; i < caller.groups.size(); ++i) groups.Set(i, number(env, caller.groups[i]));
  object.Set("groups", groups);
  object.Set("sysAdmin", Napi::Boolean::New(env, caller.sys_admin));
  return object;
}

Caller caller_of(const Napi::Value& value) {
  Caller caller;
  const auto object = value.As<Napi::Object>();
  caller.pid = static_cast<pid_t>(integer(object.Get("pid")));
  caller.uid = static_cast<uid_t>(integer(object.Get("uid")));
  caller.gid = static_cast<gid_t>(integer(object.Get("gid")));
  const auto groups = object.Get("groups").As<Napi::Array>();
  for (std::uint32_t i = 0; i < groups.Length(); ++i) caller.groups.push_back(static_cast<gid_t>(integer(groups.Get(i))));
  caller.sys_admin = truth(object.Get("sysAdmin"));
  return caller;
}

Napi::Object value_of(Napi::Env env, const VirtualQuestion& question) {
  auto object = Napi::Object::New(env);
  object.Set("token", number(env, static_cast<std::int64_t>(question.token)));
  object.Set("scope", number(env, question.scope));
  object.Set("op", kOps[static_cast<std::size_t>(question.op)]);
  const auto data = [&] { return Napi::Buffer<char>::Copy(env, question.data.data(), question.data.size()); };
  switch (question.op) {
    case VirtualOp::lookup:
    case VirtualOp::list:
      object.Set("path", question.path);
      break;
    case VirtualOp::open:
      object.Set("path", question.path);
      object.Set("caller", value_of(env, question.caller));
      object.Set("forWriting", Napi::Boolean::New(env, question.for_writing));
      break;
    case VirtualOp::read:
      object.Set("offsetBytes", number(env, static_cast<std::int64_t>(question.offset)));
      object.Set("lengthBytes", number(env, question.length));
      break;
    case VirtualOp::write:
      object.Set("offsetBytes", number(env, static_cast<std::int64_t>(question.offset)));
      object.Set("data", data());
      break;
    case VirtualOp::setxattr:
      object.Set("path", question.path);
      object.Set("name", question.name);
      object.Set("value", question.has_value ? Napi::Value(data()) : env.Null());
      object.Set("caller", value_of(env, question.caller));
      break;
    default:
      break;
  }
  object.Set("handle", number(env, static_cast<std::int64_t>(question.handle)));
  return object;
}

std::string bytes_of(const Napi::Value& value) {
  if (!value.IsBuffer()) return text(value);
  const auto buffer = value.As<Napi::Buffer<char>>();
  return {buffer.Data(), buffer.Length()};
}

VirtualAnswer answer_of(const Napi::Object& object) {
  VirtualAnswer answer;
  if (object.Has("errno")) {
    answer.error = number_of(text(object.Get("errno")));
  } else if (object.Has("node")) {
    const auto node = object.Get("node").As<Napi::Object>();
    answer.kind = kind_of(text(node.Get("kind")));
    answer.mode = static_cast<std::uint32_t>(integer(node.Get("mode")));
    answer.mtime_ms = integer(node.Get("mtimeMs"));
    answer.size = integer(node.Get("sizeBytes"));
    if (node.Has("content")) answer.data = bytes_of(node.Get("content"));
  } else if (object.Has("names")) {
    const auto names = object.Get("names").As<Napi::Array>();
    for (std::uint32_t i = 0; i < names.Length(); ++i) {
      const auto entry = names.Get(i).As<Napi::Object>();
      answer.names.push_back({text(entry.Get("name")), kind_of(text(entry.Get("kind")))});
    }
  } else if (object.Has("data")) {
    answer.data = bytes_of(object.Get("data"));
  }
  if (object.Has("handle")) answer.handle = static_cast<std::uint64_t>(integer(object.Get("handle")));
  if (object.Has("writtenBytes")) answer.written = static_cast<std::uint32_t>(integer(object.Get("writtenBytes")));
  return answer;
}

// What the kernel calls its requests, for the metrics.
constexpr std::array<std::pair<std::uint32_t, const char*>, 40> kOpcodes{{
    {fuse::LOOKUP, "LOOKUP"}, {fuse::FORGET, "FORGET"}, {fuse::GETATTR, "GETATTR"}, {fuse::SETATTR, "SETATTR"},
    {fuse::READLINK, "READLINK"}, {fuse::SYMLINK, "SYMLINK"}, {fuse::MKNOD, "MKNOD"}, {fuse::MKDIR, "MKDIR"},
    {fuse::UNLINK, "UNLINK"}, {fuse::RMDIR, "RMDIR"}, {fuse::RENAME, "RENAME"}, {fuse::LINK, "LINK"},
    {fuse::OPEN, "OPEN"}, {fuse::READ, "READ"}, {fuse::WRITE, "WRITE"}, {fuse::STATFS, "STATFS"},
    {fuse::RELEASE, "RELEASE"}, {fuse::FSYNC, "FSYNC"}, {fuse::SETXATTR, "SETXATTR"}, {fuse::GETXATTR, "GETXATTR"},
    {fuse::LISTXATTR, "LISTXATTR"}, {fuse::REMOVEXATTR, "REMOVEXATTR"}, {fuse::FLUSH, "FLUSH"},
    {fuse::OPENDIR, "OPENDIR"}, {fuse::READDIR, "READDIR"}, {fuse::FSYNCDIR, "FSYNCDIR"}, {fuse::ACCESS, "ACCESS"},
    {fuse::CREATE, "CREATE"}, {fuse::INTERRUPT, "INTERRUPT"}, {fuse::IOCTL, "IOCTL"},
    {fuse::BATCH_FORGET, "BATCH_FORGET"}, {fuse::FALLOCATE, "FALLOCATE"}, {fuse::READDIRPLUS, "READDIRPLUS"},
    {fuse::RENAME2, "RENAME2"}, {fuse::LSEEK, "LSEEK"}, {fuse::COPY_FILE_RANGE, "COPY_FILE_RANGE"},
    {fuse::SYNCFS, "SYNCFS"}, {fuse::TMPFILE, "TMPFILE"}, {fuse::STATX, "STATX"},
    {fuse::COPY_FILE_RANGE_64, "COPY_FILE_RANGE_64"},
}};

}  // namespace

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Engine",
                       {InstanceMethod("openBacking", &EngineObject::open_backing),
                        InstanceMethod("lock", &EngineObject::lock), InstanceMethod("setPool", &EngineObject::set_pool),
                        InstanceMethod("addLot", &EngineObject::add_lot), InstanceMethod("bind", &EngineObject::bind),
                        InstanceMethod("count", &EngineObject::count), InstanceMethod("mount", &EngineObject::mount),
                        InstanceMethod("reply", &EngineObject::reply),
                        InstanceMethod("resolve", &EngineObject::resolve),
                        InstanceMethod("access", &EngineObject::access), InstanceMethod("admit", &EngineObject::admit),
                        InstanceMethod("setLot", &EngineObject::set_lot),
                        InstanceMethod("release", &EngineObject::release), InstanceMethod("pool", &EngineObject::pool),
                        InstanceMethod("usage", &EngineObject::usage), InstanceMethod("drain", &EngineObject::drain),
                        InstanceMethod("requests", &EngineObject::requests),
                        InstanceMethod("unmount", &EngineObject::unmount), InstanceMethod("stop", &EngineObject::stop)});
  }

  explicit EngineObject(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<EngineObject>(info), engine_(std::make_unique<Engine>()) {}

 private:
  // Runs `work` on a thread and resolves the promise with what `done` makes of it on the JavaScript thread.
  template <typename Result>
  Napi::Value later(Napi::Env env, Executor& executor, std::function<Result()> work,
                    std::function<Napi::Value(Napi::Env, const Result&)> done) {
    auto deferred = std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env));
    auto back = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "later",
                                              0, 1);
    executor.post([work = std::move(work), done = std::move(done), deferred, back]() mutable {
      auto result = std::make_shared<Result>(work());
      back.BlockingCall([result, done = std::move(done), deferred](Napi::Env inner, Napi::Function) {
        const Napi::HandleScope scope(inner);
        const Napi::Value value = done(inner, *result);
        if (inner.IsExceptionPending()) {
          deferred->Reject(inner.GetAndClearPendingException().Value());
        } else {
          deferred->Resolve(value);
        }
      });
      back.Release();
    });
    return deferred->Promise();
  }

  Napi::Value open_backing(const Napi::CallbackInfo& info) {
    const auto given = info[0].As<Napi::Object>();
    EngineOptions options;
    options.backing = text(given.Get("backing"));
    options.charging = truth(given.Get("charging"));
    options.device.mountpoint = text(given.Get("mountpoint"));
    options.device.source = text(given.Get("source"));
    options.device.read_only = truth(given.Get("readOnly"));
    options.device.allow_other = truth(given.Get("allowOther"));
    options.device.passthrough = truth(given.Get("passthrough"));
    options.device.threads = static_cast<unsigned>(integer(given.Get("threads")));
    options.device.suid = truth(given.Get("suid"));
    options.device.dev = truth(given.Get("dev"));
    options.device.exec = truth(given.Get("exec"));
    BackingInfo backing;
    std::string why = "cannot open the backing directory";
    if (const int error = engine_->open_backing(options, backing, why); error != 0) {
      fail(info.Env(), error, why);
      return info.Env().Undefined();
    }
    auto object = Napi::Object::New(info.Env());
    object.Set("viewPath", backing.view_path);
    object.Set("totalBytes", number(info.Env(), backing.total_bytes));
    object.Set("freeBytes", number(info.Env(), backing.free_bytes));
    object.Set("readOnly", Napi::Boolean::New(info.Env(), backing.read_only));
    object.Set("filesystem", backing.filesystem);
    return object;
  }

  Napi::Value lock(const Napi::CallbackInfo& info) {
    const std::string path = text(info[0]);
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd && errno == EROFS) fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) {
      fail(info.Env(), -errno, "cannot open " + path);
      return info.Env().Undefined();
    }
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return Napi::Boolean::New(info.Env(), false);
    lock_ = std::move(fd);
    return Napi::Boolean::New(info.Env(), true);
  }

  Napi::Value set_pool(const Napi::CallbackInfo& info) {
    engine_->set_pool(info[0].IsNumber() ? integer(info[0]) : -1, info[1].IsNumber() ? integer(info[1]) : -1);
    return value_of(info.Env(), engine_->pool());
  }

  Napi::Value add_lot(const Napi::CallbackInfo& info) {
    const int error = engine_->add_lot(lot_spec(info[0]), integer(info[1]), integer(info[2]));
    if (error != 0) fail(info.Env(), error, "cannot add the lot " + text(info[0].As<Napi::Object>().Get("name")));
    return info.Env().Undefined();
  }

  Napi::Value bind(const Napi::CallbackInfo& info) {
    engine_->bind(text(info[0]), static_cast<LotId>(integer(info[1])));
    return info.Env().Undefined();
  }

  Napi::Value count(const Napi::CallbackInfo& info) {
    const bool repair = truth(info[0]);
    auto progress = std::make_shared<CountProgress>();
    auto tell = Napi::ThreadSafeFunction::New(info.Env(), info[1].As<Napi::Function>(), "progress", 0, 1);
    auto work = [this, repair, progress, tell]() mutable {
      std::atomic<bool> over{false};
      std::thread teller([&over, progress, tell] {
        while (!over) {
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
          tell.NonBlockingCall([progress](Napi::Env env, Napi::Function callback) {
            auto object = Napi::Object::New(env);
            object.Set("files", number(env, progress->files));
            object.Set("directories", number(env, progress->directories));
            object.Set("bytes", number(env, progress->bytes));
            callback.Call({object});
          });
        }
      });
      CountReport report = engine_->count(repair, *progress);
      over = true;
      teller.join();
      tell.Release();
      return report;
    };
    return later<CountReport>(info.Env(), counting_, std::move(work), [](Napi::Env env, const CountReport& report) {
      if (report.error == 0) return Napi::Value(value_of(env, report));
      fail(env, -report.error, "cannot count " + report.path);
      return env.Undefined();
    });
  }

  Napi::Value mount(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    on_virtual_ = Napi::ThreadSafeFunction::New(env, info[0].As<Napi::Function>(), "onVirtual", 0, 1);
    on_end_ = Napi::ThreadSafeFunction::New(env, info[1].As<Napi::Function>(), "onEnd", 0, 1);
    auto why = std::make_shared<std::string>();
    auto work = [this, why] {
      return engine_->mount(
          [this](VirtualQuestion&& question) {
            auto shared = std::make_shared<VirtualQuestion>(std::move(question));
            on_virtual_.NonBlockingCall([shared](Napi::Env inner, Napi::Function callback) {
              callback.Call({value_of(inner, *shared)});
            });
          },
          [this] {
            on_end_.NonBlockingCall([](Napi::Env, Napi::Function callback) { callback.Call({}); });
          },
          *why);
    };
    return later<int>(env, commands_, work, [this, why](Napi::Env inner, const int& error) -> Napi::Value {
      if (error != 0) {
        on_virtual_.Release();
        on_end_.Release();
        fail(inner, error, *why);
        return inner.Undefined();
      }
      const DeviceInfo& device = engine_->device.info();
      auto object = Napi::Object::New(inner);
      object.Set("io", device.passthrough ? "passthrough" : "cached");
      object.Set("ioReason", device.passthrough_reason);
      object.Set("kernelMinor", number(inner, device.kernel_minor));
      return object;
    });
  }

  Napi::Value reply(const Napi::CallbackInfo& info) {
    engine_->virtuals.answer(static_cast<std::uint64_t>(integer(info[0])), answer_of(info[1].As<Napi::Object>()));
    return info.Env().Undefined();
  }

  Napi::Value resolve(const Napi::CallbackInfo& info) {
    Resolved resolved;
    const std::string path = text(info[0]);
    if (const int error = engine_->resolve(path, resolved); error != 0) {
      fail(info.Env(), error, path);
      return info.Env().Undefined();
    }
    auto object = Napi::Object::New(info.Env());
    object.Set("path", resolved.path);
    object.Set("exists", Napi::Boolean::New(info.Env(), resolved.exists));
    object.Set("isDirectory", Napi::Boolean::New(info.Env(), resolved.is_directory));
    object.Set("directory", resolved.directory);
    return object;
  }

  Napi::Value access(const Napi::CallbackInfo& info) {
    using Result = std::pair<int, WriteAccess>;
    const std::string directory = text(info[0]);
    auto work = [this, directory, caller = caller_of(info[1])] {
      Result result;
      result.first = engine_->access(directory, caller, result.second);
      return result;
    };
    return later<Result>(info.Env(), checks_, work, [directory](Napi::Env env, const Result& result) -> Napi::Value {
      if (result.first != 0) {
        fail(env, result.first, directory);
        return env.Undefined();
      }
      auto object = Napi::Object::New(env);
      object.Set("mayWrite", Napi::Boolean::New(env, result.second.may_write));
      object.Set("stickyOwner", result.second.sticky ? number(env, result.second.owner) : env.Null());
      return object;
    });
  }

  Napi::Value admit(const Napi::CallbackInfo& info) {
    auto work = [this, spec = lot_spec(info[0]), path = text(info[1])] { return engine_->admit(spec, path); };
    return later<Admission>(info.Env(), commands_, work,
                            [](Napi::Env env, const Admission& admission) { return value_of(env, admission); });
  }

  Napi::Value set_lot(const Napi::CallbackInfo& info) {
    return value_of(info.Env(), engine_->set_lot(lot_spec(info[0])));
  }

  Napi::Value release(const Napi::CallbackInfo& info) {
    auto work = [this, lot = static_cast<LotId>(integer(info[0]))] { return engine_->release(lot); };
    return later<int>(info.Env(), commands_, work, [](Napi::Env env, const int& error) {
      if (error != 0) fail(env, error, "cannot release the lot");
      return env.Undefined();
    });
  }

  Napi::Value pool(const Napi::CallbackInfo& info) { return value_of(info.Env(), engine_->pool()); }

  Napi::Value usage(const Napi::CallbackInfo& info) {
    const auto all = engine_->meter.all_usage();
    auto array = Napi::Array::New(info.Env(), all.size());
    for (std::uint32_t i = 0; i < all.size(); ++i) array.Set(i, value_of(info.Env(), all[i]));
    return array;
  }

  Napi::Value drain(const Napi::CallbackInfo& info) {
    const auto changes = engine_->meter.drain();
    auto array = Napi::Array::New(info.Env(), changes.size());
    for (std::uint32_t i = 0; i < changes.size(); ++i) {
      auto object = value_of(info.Env(), changes[i].usage);
      object.Set("chargedBytes", number(info.Env(), changes[i].charged_bytes));
      object.Set("refundedBytes", number(info.Env(), changes[i].refunded_bytes));
      object.Set("refusals", number(info.Env(), changes[i].refusals));
      object.Set("refusedBytes", number(info.Env(), changes[i].refused_bytes));
      array.Set(i, object);
    }
    return array;
  }

  Napi::Value requests(const Napi::CallbackInfo& info) {
    auto object = Napi::Object::New(info.Env());
    for (const auto& [opcode, name] : kOpcodes) {
      object.Set(name, number(info.Env(), static_cast<std::int64_t>(engine_->device.served(opcode))));
    }
    return object;
  }

  Napi::Value unmount(const Napi::CallbackInfo& info) {
    if (const int error = engine_->unmount(truth(info[0])); error != 0) fail(info.Env(), error, "cannot unmount");
    return info.Env().Undefined();
  }

  Napi::Value stop(const Napi::CallbackInfo& info) {
    auto work = [this] {
      engine_->stop();
      return 0;
    };
    return later<int>(info.Env(), commands_, work, [this](Napi::Env env, const int&) {
      if (on_virtual_) {
        on_virtual_.Release();
        on_end_.Release();
        on_virtual_ = {};
        on_end_ = {};
      }
      return env.Undefined();
    });
  }

  std::unique_ptr<Engine> engine_;
  Fd lock_;
  Napi::ThreadSafeFunction on_virtual_;
  Napi::ThreadSafeFunction on_end_;
  // Declared last, so that they end first: tasks use the engine.
  Executor commands_;
  Executor counting_;
  Executor checks_;
};

namespace {

Napi::Value unmount_any(const Napi::CallbackInfo& info) {
  const std::string mountpoint = text(info[0]);
  if (const int error = unmount_path(mountpoint.c_str(), truth(info[1])); error != 0) {
    fail(info.Env(), error, "cannot unmount " + mountpoint);
  }
  return info.Env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine", EngineObject::define(env));
  exports.Set("unmount", Napi::Function::New(env, unmount_any));
  return exports;
}

}  // namespace

NODE_API_MODULE(vreserve, init)

}  // namespace vreserve
