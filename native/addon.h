// The classes that the addon exports.
#pragma once

#include <napi.h>

namespace vreserve {

class Engine;

[[nodiscard]] Napi::Function define_engine(Napi::Env env);
[[nodiscard]] Napi::Function define_meter(Napi::Env env);
[[nodiscard]] Napi::Function define_portable(Napi::Env env);

// Of an object of the class Engine.
[[nodiscard]] Engine& engine_of(const Napi::Value& value);

}  // namespace vreserve
