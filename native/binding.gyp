{
  "targets": [
    {
      "target_name": "vreserve",
      "sources": ["<!@(node -p \"require('fs').readdirSync('.').filter(f => f.endsWith('.cc')).sort().join(' ')\")"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED", "_GNU_SOURCE", "_FILE_OFFSET_BITS=64"],
      "cflags!": ["-O3"],
      "cflags_cc!": ["-std=gnu++17", "-std=gnu++20", "-fno-exceptions", "-fno-rtti", "-O3"],
      "cflags": ["-O2", "-Wall", "-Wextra", "-Werror", "-isystem", "<!(node -p \"require('path').dirname(require.resolve('node-addon-api'))\")"],
      "cflags_cc": ["-std=c++20"],
      "ldflags": ["-pthread"],
      "configurations": {
        "Release": {"cflags!": ["-O3"], "cflags_cc!": ["-O3"]}
      }
    }
  ]
}
