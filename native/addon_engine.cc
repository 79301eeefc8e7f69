// The data plane as an object of JavaScript.
#include <sys/file.h>

#include <array>
#include <map>
#include <set>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "addon.h"
#include "addon_values.h"
#include "executor.h"

namespace vreserve {

namespace {

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

class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function define(Napi::Env env) {
    return DefineClass(env, "Engine",
                       {InstanceMethod("openBacking", &EngineObject::open_backing),
                        InstanceMethod("lock", &EngineObject::lock), InstanceMethod("setPool", &EngineObject::set_pool),
                        InstanceMethod("addPool", &EngineObject::add_pool),
                        InstanceMethod("removePool", &EngineObject::remove_pool),
                        InstanceMethod("graft", &EngineObject::graft),
                        InstanceMethod("ungraft", &EngineObject::ungraft),
                        InstanceMethod("addLot", &EngineObject::add_lot), InstanceMethod("bind", &EngineObject::bind),
                        InstanceMethod("serveSpool", &EngineObject::serve_spool),
                        InstanceMethod("serveStore", &EngineObject::serve_store),
                        InstanceMethod("serveNamespaces", &EngineObject::serve_namespaces),
                        InstanceMethod("count", &EngineObject::count), InstanceMethod("mount", &EngineObject::mount),
                        InstanceMethod("reply", &EngineObject::reply),
                        InstanceMethod("resolve", &EngineObject::resolve),
                        InstanceMethod("access", &EngineObject::access),
                        InstanceMethod("reshape", &EngineObject::reshape),
                        InstanceMethod("setPhases", &EngineObject::set_phases),
                        InstanceMethod("unlink", &EngineObject::unlink), InstanceMethod("pool", &EngineObject::pool),
                        InstanceMethod("usageColumns", &EngineObject::usage_columns),
                        InstanceMethod("usageOf", &EngineObject::usage_of),
                        InstanceMethod("room", &EngineObject::room),
                        InstanceMethod("measured", &EngineObject::measured),
                        InstanceMethod("drain", &EngineObject::drain),
                        InstanceMethod("requests", &EngineObject::requests),
                        InstanceMethod("unmount", &EngineObject::unmount), InstanceMethod("stop", &EngineObject::stop)});
  }

  explicit EngineObject(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<EngineObject>(info), engine_(std::make_unique<Engine>()) {}

  [[nodiscard]] Engine& engine() noexcept { return *engine_; }

 private:
  // Runs `work` on a thread and resolves the promise with what `done` makes of it on the JavaScript thread.
  template <typename Result>
  Napi::Value later(Napi::Env env, Executor& executor, std::function<Result()> work,
                    std::function<Napi::Value(Napi::Env, const Result&)> done) {
    auto deferred = std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env));
    // One for all: to make one, and to be woken by it, costs more than most of what is done.
    if (!back_) {
      back_ = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "later", 0, 1);
      back_.Unref(env);
    }
    if (under_way_++ == 0) {
      back_.Ref(env);
      Ref();
    }
    executor.post([this, work = std::move(work), done = std::move(done), deferred]() mutable {
      auto result = std::make_shared<Result>(work());
      back_.BlockingCall([this, result, done = std::move(done), deferred](Napi::Env inner, Napi::Function) {
        const Napi::HandleScope scope(inner);
        if (--under_way_ == 0) {
          back_.Unref(inner);
          Unref();
        }
        const Napi::Value value = done(inner, *result);
        if (inner.IsExceptionPending()) {
          deferred->Reject(inner.GetAndClearPendingException().Value());
        } else {
          deferred->Resolve(value);
        }
      });
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
    return value_of(info.Env(), backing);
  }

  Napi::Value add_pool(const Napi::CallbackInfo& info) {
    struct Result {
      int error = 0;
      BackingInfo backing;
      std::string why;
    };
    auto work = [this, spec = pool_spec(info[0])] {
      Result result;
      result.error = engine_->add_pool(spec, result.backing, result.why);
      return result;
    };
    return later<Result>(info.Env(), pools_, work, [](Napi::Env env, const Result& result) -> Napi::Value {
      if (result.error == 0) return value_of(env, result.backing);
      fail(env, result.error, result.why.empty() ? "cannot open the pool" : result.why);
      return env.Undefined();
    });
  }

  // Runs what gives 0 or -errno on a thread.
  Napi::Value attempt(Napi::Env env, Executor& executor, std::function<int()> work, const std::string& what) {
    return later<int>(env, executor, std::move(work), [what](Napi::Env inner, const int& error) {
      if (error != 0) fail(inner, error, what);
      return inner.Undefined();
    });
  }

  Napi::Value remove_pool(const Napi::CallbackInfo& info) {
    const auto id = static_cast<PoolId>(integer(info[0]));
    return attempt(info.Env(), pools_, [this, id] { return engine_->remove_pool(id); }, "cannot remove the pool");
  }

  Napi::Value graft(const Napi::CallbackInfo& info) {
    const std::string path = text(info[0]);
    const auto pool = static_cast<PoolId>(integer(info[1]));
    auto work = [this, path, pool, directory = text(info[2]), by_kernel = truth(info[3])] {
      return engine_->graft(path, pool, directory, by_kernel);
    };
    return attempt(info.Env(), for_pools({pool}, unlinks_), work, path);
  }

  Napi::Value ungraft(const Napi::CallbackInfo& info) {
    const std::string path = text(info[0]);
    return attempt(info.Env(), for_path(path), [this, path] { return engine_->ungraft(path); }, path);
  }

  // What concerns another pool than the main one may wait for its disk: on a thread of its own.
  Executor& for_pools(const std::set<PoolId>& pools, Executor& otherwise) {
    if (pools.empty() || *pools.rbegin() == kMainPool) return otherwise;
    auto& own = others_[*pools.rbegin()];
    if (own == nullptr) own = std::make_unique<Executor>();
    return *own;
  }
  Executor& for_path(const std::string& path) { return for_pools({engine_->inodes.root_at(path).pool}, unlinks_); }

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
    const auto id = static_cast<PoolId>(integer(info[2]));
    engine_->set_pool(info[0].IsNumber() ? integer(info[0]) : -1, info[1].IsNumber() ? integer(info[1]) : -1, id);
    return pool_state(info.Env(), id);
  }

  Napi::Value add_lot(const Napi::CallbackInfo& info) {
    const int error = engine_->add_lot(lot_spec(info[0]), integer(info[1]), integer(info[2]));
    if (error != 0) fail(info.Env(), error, "cannot add the lot " + text(info[0].As<Napi::Object>().Get("name")));
    return info.Env().Undefined();
  }

  Napi::Value bind(const Napi::CallbackInfo& info) {
    engine_->bind(bound_path(info[0]));
    return info.Env().Undefined();
  }

  Napi::Value serve_spool(const Napi::CallbackInfo& info) {
    if (const int error = engine_->serve_spool(spool_layout(info[0])); error != 0) {
      fail(info.Env(), error, "cannot serve the spool");
    }
    return info.Env().Undefined();
  }

  Napi::Value serve_store(const Napi::CallbackInfo& info) {
    if (const int error = engine_->serve_store(); error != 0) fail(info.Env(), error, "cannot serve the store");
    return info.Env().Undefined();
  }

  Napi::Value serve_namespaces(const Napi::CallbackInfo& info) {
    if (const int error = engine_->serve_namespaces(); error != 0) fail(info.Env(), error, "cannot serve the namespaces");
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
        let_go();
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
    const Caller caller = info[1].IsObject() ? caller_of(info[1]) : Caller{};
    const Caller* const asks = info[1].IsObject() ? &caller : nullptr;
    if (const int error = engine_->resolve(path, asks, text(info[2]), resolved); error != 0) {
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
    auto work = [this, directory, path = text(info[1]), caller = caller_of(info[2])] {
      Result result;
      result.first = engine_->access(directory, path, caller, result.second);
      return result;
    };
    return later<Result>(info.Env(), checks_, work, [directory](Napi::Env env, const Result& result) -> Napi::Value {
      if (result.first != 0) {
        fail(env, result.first, directory);
        return env.Undefined();
      }
      auto object = Napi::Object::New(env);
      object.Set("mayWrite", Napi::Boolean::New(env, result.second.may_write));
      object.Set("mayWriteIn", Napi::Boolean::New(env, result.second.may_write_in));
      object.Set("stickyOwner", result.second.sticky ? number(env, result.second.owner) : env.Null());
      return object;
    });
  }

  Napi::Value reshape(const Napi::CallbackInfo& info) {
    const ReshapeRequest what = reshape_of(info[0]);
    auto work = [this, what] { return engine_->reshape(what); };
    return later<Admission>(info.Env(), for_pools(engine_->pools_of(what), commands_), work,
                            [](Napi::Env env, const Admission& admission) { return value_of(env, admission); });
  }

  Napi::Value set_phases(const Napi::CallbackInfo& info) {
    engine_->set_phases(each(info[0], phase_of));
    return info.Env().Undefined();
  }

  Napi::Value unlink(const Napi::CallbackInfo& info) {
    using Result = std::pair<int, std::int64_t>;
    const std::string path = text(info[0]);
    auto work = [this, path, inode = static_cast<ino_t>(integer(info[1])), lot = lot_id(info[2])] {
      Result result;
      result.first = engine_->unlink(path, inode, lot, result.second);
      return result;
    };
    return later<Result>(info.Env(), for_path(path), work, [path](Napi::Env env, const Result& result) -> Napi::Value {
      if (result.first != 0) {
        fail(env, result.first, path);
        return env.Undefined();
      }
      auto object = Napi::Object::New(env);
      object.Set("bytes", number(env, result.second));
      return object;
    });
  }

  Napi::Value pool(const Napi::CallbackInfo& info) {
    return pool_state(info.Env(), static_cast<PoolId>(integer(info[0])));
  }

  // Of the main one the rest is told elsewhere.
  Napi::Value pool_state(Napi::Env env, PoolId id) {
    const PoolReport report = engine_->pool(id);
    return id == kMainPool ? value_of(env, report.usage) : value_of(env, report);
  }

  // Five numbers a lot, in the order of value_of(LotUsage): a hundred thousand objects would take ten times as long.
  Napi::Value usage_columns(const Napi::CallbackInfo& info) {
    const auto all = engine_->meter.all_usage();
    auto numbers = Napi::Float64Array::New(info.Env(), all.size() * 5);
    double* at = numbers.Data();
    for (const LotUsage& usage : all) {
      *at++ = usage.id;
      *at++ = static_cast<double>(usage.bytes);
      *at++ = static_cast<double>(usage.objects);
      *at++ = static_cast<double>(usage.pending_objects);
      *at++ = static_cast<double>(usage.pending_bytes);
    }
    return numbers;
  }

  Napi::Value room(const Napi::CallbackInfo& info) {
    const auto id = static_cast<LotId>(integer(info[0]));
    return number(info.Env(), std::max<std::int64_t>(0, engine_->meter.room(id)));
  }

  Napi::Value measured(const Napi::CallbackInfo& info) {
    engine_->measured(lot_id(info[0]), integer(info[1]));
    return info.Env().Undefined();
  }

  Napi::Value usage_of(const Napi::CallbackInfo& info) {
    LotUsage usage;
    if (!engine_->meter.usage(lot_id(info[0]), usage)) return info.Env().Null();
    return value_of(info.Env(), usage);
  }

  Napi::Value drain(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    return array_of(env, engine_->meter.drain(), [env](const LotChange& change) { return value_of(env, change); });
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
      let_go();
      return env.Undefined();
    });
  }

  // Of the callbacks of a mount, once.
  void let_go() {
    if (!on_virtual_) return;
    on_virtual_.Release();
    on_end_.Release();
    on_virtual_ = {};
    on_end_ = {};
  }

  std::unique_ptr<Engine> engine_;
  Fd lock_;
  Napi::ThreadSafeFunction on_virtual_;
  Napi::ThreadSafeFunction on_end_;
  // Brings back what was posted, and keeps the process and this object while anything is under way.
  Napi::ThreadSafeFunction back_;
  int under_way_ = 0;  // JavaScript thread
  // Declared last, so that they end first: tasks use the engine.
  Executor commands_;
  Executor counting_;
  Executor checks_;
  Executor pools_;    // may wait for a disk
  Executor unlinks_;  // may wait for a request that waits for what the others do
  std::map<PoolId, std::unique_ptr<Executor>> others_;  // JavaScript thread
};

}  // namespace

Napi::Function define_engine(Napi::Env env) { return EngineObject::define(env); }

Engine& engine_of(const Napi::Value& value) { return EngineObject::Unwrap(value.As<Napi::Object>())->engine(); }

}  // namespace vreserve
