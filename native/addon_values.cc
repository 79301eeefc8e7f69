#include "addon_values.h"

#include <array>
#include <cstring>

namespace vreserve {

namespace {

int number_of(const std::string& name) {
  for (int error = 1; error < 134; ++error) {
    const char* const known = ::strerrorname_np(error);
    if (known != nullptr && name == known) return error;
  }
  return EIO;
}

// In the order of VirtualOp and VirtualKind.
constexpr std::array kOps{"lookup",   "list",    "open",      "read",   "write",  "flush",   "release",
                          "setxattr", "content", "interrupt", "create", "unlink", "getxattr"};
constexpr std::array kKinds{"directory", "snapshot", "stream", "control", "blob"};

VirtualKind kind_of(const std::string& name) {
  for (std::size_t i = 0; i < kKinds.size(); ++i) {
    if (name == kKinds[i]) return static_cast<VirtualKind>(i);
  }
  return VirtualKind::snapshot;
}

std::string bytes_of(const Napi::Value& value) {
  if (!value.IsBuffer()) return text(value);
  const auto buffer = value.As<Napi::Buffer<char>>();
  return {buffer.Data(), buffer.Length()};
}

Napi::Object value_of(Napi::Env env, const Caller& caller) {
  auto object = Napi::Object::New(env);
  object.Set("pid", number(env, caller.pid));
  object.Set("uid", number(env, caller.uid));
  object.Set("gid", number(env, caller.gid));
  object.Set("groups", array_of(env, caller.groups, [env](gid_t group) { return number(env, group); }));
  object.Set("home", Napi::Boolean::New(env, caller.home));
  object.Set("sysAdmin", Napi::Boolean::New(env, caller.sys_admin));
  object.Set("dacOverride", Napi::Boolean::New(env, caller.dac_override));
  return object;
}

}  // namespace

std::string name_of(int error) {
  const char* const name = ::strerrorname_np(error);
  return name == nullptr ? "E" + std::to_string(error) : name;
}

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

LotId lot_id(const Napi::Value& value) { return static_cast<LotId>(integer(value)); }

LotSpec lot_spec(const Napi::Value& value) {
  LotSpec spec;
  const auto object = value.As<Napi::Object>();
  spec.id = lot_id(object.Get("id"));
  spec.name = text(object.Get("name"));
  spec.parents = each(object.Get("parents"), lot_id);
  spec.policy.dedicated_bytes = integer(object.Get("dedicatedBytes"));
  spec.policy.opportunistic_bytes = limit(object.Get("opportunisticBytes"));
  spec.policy.max_objects = limit(object.Get("maxObjects"));
  spec.policy.sets_aside = truth(object.Get("setsAside"));
  spec.policy.may_grow = truth(object.Get("mayGrow"));
  spec.policy.by_kernel = truth(object.Get("enforcedByKernel"));
  spec.pool = static_cast<PoolId>(integer(object.Get("pool")));
  return spec;
}

PoolSpec pool_spec(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  const auto bytes = [&object](const char* name) {
    const Napi::Value given = object.Get(name);
    return given.IsNumber() ? integer(given) : -1;
  };
  return {.id = static_cast<PoolId>(integer(object.Get("id"))),
          .name = text(object.Get("name")),
          .directory = text(object.Get("directory")),
          .mark = text(object.Get("mark")),
          .known = truth(object.Get("known")),
          .capacity = bytes("capacityBytes"),
          .margin = bytes("marginBytes")};
}

SpoolLayout spool_layout(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {.spool = each(object.Get("spool"), text),
          .queue = each(object.Get("queue"), text),
          .making = text(object.Get("making"))};
}

BoundPath bound_path(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {text(object.Get("path")),
          {lot_id(object.Get("id")), truth(object.Get("recursive")), truth(object.Get("exclude"))}};
}

ReshapeRequest reshape_of(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {.lots = each(object.Get("lots"), lot_spec),
          .gone = each(object.Get("gone"), lot_id),
          .bind = each(object.Get("bind"), bound_path),
          .unbind = each(object.Get("unbind"), text),
          .must_cover = truth(object.Get("mustCover")),
          .force = truth(object.Get("force"))};
}

Phase phase_of(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {lot_id(object.Get("id")), truth(object.Get("setsAside")), truth(object.Get("mayGrow"))};
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

Napi::Object value_of(Napi::Env env, const LotChange& change) {
  auto object = value_of(env, change.usage);
  object.Set("chargedBytes", number(env, change.charged_bytes));
  object.Set("refundedBytes", number(env, change.refunded_bytes));
  object.Set("refusals", number(env, change.refusals));
  object.Set("refusedBytes", number(env, change.refused_bytes));
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

Napi::Object value_of(Napi::Env env, const PoolReport& pool) {
  auto object = value_of(env, pool.usage);
  object.Set("broken", pool.broken.empty() ? env.Null() : Napi::Value(Napi::String::New(env, pool.broken)));
  object.Set("io", pool.passthrough ? "passthrough" : "cached");
  object.Set("ioReason", pool.io_reason);
  object.Set("filesystem", pool.filesystem);
  return object;
}

Napi::Object value_of(Napi::Env env, const BackingInfo& backing) {
  auto object = Napi::Object::New(env);
  object.Set("viewPath", backing.view_path);
  object.Set("totalBytes", number(env, backing.total_bytes));
  object.Set("freeBytes", number(env, backing.free_bytes));
  object.Set("readOnly", Napi::Boolean::New(env, backing.read_only));
  object.Set("filesystem", backing.filesystem);
  return object;
}

Napi::Object value_of(Napi::Env env, const Admission& admission) {
  auto object = Napi::Object::New(env);
  object.Set("granted", Napi::Boolean::New(env, admission.error == 0));
  if (admission.error == 0) {
    object.Set("usage", array_of(env, admission.usages, [env](const LotUsage& usage) { return value_of(env, usage); }));
    return object;
  }
  object.Set("errno", name_of(admission.error));
  object.Set("lot", admission.lot == kNoLot ? env.Null() : number(env, admission.lot));
  object.Set("availableBytes", number(env, admission.available));
  object.Set("heldBytes", number(env, admission.held));
  if (!admission.path.empty()) object.Set("path", admission.path);
  return object;
}

Napi::Object value_of(Napi::Env env, const CountReport& report) {
  auto object = Napi::Object::New(env);
  object.Set("lots", array_of(env, report.lots, [env](const CountedLot& lot) {
               auto entry = Napi::Object::New(env);
               entry.Set("id", number(env, lot.id));
               entry.Set("bytes", number(env, lot.counted.bytes));
               entry.Set("objects", number(env, lot.counted.objects));
               entry.Set("recordedBytes", number(env, lot.recorded.bytes));
               entry.Set("recordedObjects", number(env, lot.recorded.objects));
               entry.Set("exact", Napi::Boolean::New(env, lot.exact));
               return entry;
             }));
  object.Set("straddling", array_of(env, report.straddling, [env](const Straddler& straddler) {
               auto entry = Napi::Object::New(env);
               entry.Set("path", straddler.path);
               entry.Set("id", number(env, straddler.lot));
               return entry;
             }));
  return object;
}

Caller caller_of(const Napi::Value& value) {
  Caller caller;
  const auto object = value.As<Napi::Object>();
  caller.pid = static_cast<pid_t>(integer(object.Get("pid")));
  caller.uid = static_cast<uid_t>(integer(object.Get("uid")));
  caller.gid = static_cast<gid_t>(integer(object.Get("gid")));
  caller.groups = each(object.Get("groups"), [](const Napi::Value& group) { return static_cast<gid_t>(integer(group)); });
  caller.home = truth(object.Get("home"));
  caller.sys_admin = truth(object.Get("sysAdmin"));
  caller.dac_override = truth(object.Get("dacOverride"));
  return caller;
}

Napi::Object value_of(Napi::Env env, const VirtualQuestion& question) {
  auto object = Napi::Object::New(env);
  object.Set("token", number(env, static_cast<std::int64_t>(question.token)));
  object.Set("scope", number(env, question.scope));
  object.Set("directory", question.directory);
  object.Set("op", kOps[static_cast<std::size_t>(question.op)]);
  const auto data = [&] { return Napi::Buffer<char>::Copy(env, question.data.data(), question.data.size()); };
  switch (question.op) {
    case VirtualOp::lookup:
    case VirtualOp::list:
    case VirtualOp::content:
      object.Set("path", question.path);
      break;
    case VirtualOp::create:
    case VirtualOp::unlink:
      object.Set("path", question.path);
      object.Set("caller", value_of(env, question.caller));
      break;
    case VirtualOp::open:
      object.Set("path", question.path);
      object.Set("caller", value_of(env, question.caller));
      object.Set("forWriting", Napi::Boolean::New(env, question.for_writing));
      if (question.of_blob) object.Set("truncate", Napi::Boolean::New(env, question.truncate));
      break;
    case VirtualOp::flush:
    case VirtualOp::release:
      if (!question.of_blob) break;
      object.Set("written", Napi::Boolean::New(env, question.written));
      if (question.failed != 0) object.Set("failed", name_of(question.failed));
      if (question.op == VirtualOp::release) object.Set("opened", Napi::Boolean::New(env, question.opened));
      break;
    case VirtualOp::getxattr:
      object.Set("path", question.path);
      object.Set("name", question.name);
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

VirtualAnswer answer_of(const Napi::Object& object) {
  VirtualAnswer answer;
  if (object.Has("errno")) {
    answer.error = number_of(text(object.Get("errno")));
  } else if (object.Get("node").IsObject()) {
    const auto node = object.Get("node").As<Napi::Object>();
    answer.has_node = true;
    answer.kind = kind_of(text(node.Get("kind")));
    answer.mode = static_cast<std::uint32_t>(integer(node.Get("mode")));
    answer.uid = static_cast<uid_t>(integer(node.Get("uid")));
    answer.gid = static_cast<gid_t>(integer(node.Get("gid")));
    answer.takes_files = truth(node.Get("takesFiles"));
    answer.mtime_ms = integer(node.Get("mtimeMs"));
    answer.size = integer(node.Get("sizeBytes"));
  } else if (object.Has("names")) {
    answer.names = each(object.Get("names"), [](const Napi::Value& value) {
      const auto entry = value.As<Napi::Object>();
      return VirtualName{text(entry.Get("name")), kind_of(text(entry.Get("kind")))};
    });
  } else if (object.Has("data")) {
    answer.data = bytes_of(object.Get("data"));
  }
  if (object.Has("handle")) answer.handle = static_cast<std::uint64_t>(integer(object.Get("handle")));
  answer.real = text(object.Get("real"));
  answer.again = truth(object.Get("again"));
  if (object.Has("writtenBytes")) answer.written = static_cast<std::uint32_t>(integer(object.Get("writtenBytes")));
  return answer;
}

}  // namespace vreserve
