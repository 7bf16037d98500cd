/**
 * The groups of functions that make up `Syscalls` (src/sys/syscalls.ts). Each adds its own to
 * `object`.
 */
#pragma once

#include <node_api.h>

namespace plyfs {

void RegisterFiles(napi_env env, napi_value object);
void RegisterNames(napi_env env, napi_value object);
void RegisterStat(napi_env env, napi_value object);
void RegisterListing(napi_env env, napi_value object);
void RegisterXattrs(napi_env env, napi_value object);
void RegisterXfsXattrs(napi_env env, napi_value object);
void RegisterHandles(napi_env env, napi_value object);
void RegisterMounts(napi_env env, napi_value object);
void RegisterQuota(napi_env env, napi_value object);
void RegisterFileFlags(napi_env env, napi_value object);
void RegisterCopy(napi_env env, napi_value object);
void RegisterAsync(napi_env env, napi_value object);
void RegisterCrc64(napi_env env, napi_value object);
void RegisterRelay(napi_env env, napi_value object);
void RegisterSandbox(napi_env env, napi_value object);
void RegisterRootEmulation(napi_env env, napi_value object);
void RegisterSignalWatch(napi_env env, napi_value object);

}  // namespace plyfs
