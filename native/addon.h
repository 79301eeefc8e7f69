// The classes that the addon exports.
#pragma once

#include <napi.h>

namespace vreserve {

[[nodiscard]] Napi::Function define_engine(Napi::Env env);
[[nodiscard]] Napi::Function define_meter(Napi::Env env);

}  // namespace vreserve
