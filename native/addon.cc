// The addon: values in, values out. Only addon*.cc know Node; the shapes are those of src/engine/engine.ts.
#include "addon.h"

#include "addon_values.h"
#include "ops.h"

namespace vreserve {

namespace {

Napi::Value unmount_any(const Napi::CallbackInfo& info) {
  const std::string mountpoint = text(info[0]);
  if (const int error = unmount_path(mountpoint.c_str(), truth(info[1])); error != 0) {
    fail(info.Env(), error, "cannot unmount " + mountpoint);
  }
  return info.Env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("Engine", define_engine(env));
  exports.Set("Meter", define_meter(env));
  exports.Set("Portable", define_portable(env));
  exports.Set("unmount", Napi::Function::New(env, unmount_any));
  return exports;
}

}  // namespace

NODE_API_MODULE(vreserve, init)

}  // namespace vreserve
