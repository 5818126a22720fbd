#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace enmesh {

// A streaming store writes a whole cache line to memory without reading it first and without keeping it in
// the caches. That pays for a map that would leave the caches before it is read again; a smaller one is
// better kept. Values are the same bits either way.

/// When kernels that can stream do so: for large maps only, or whatever the size.
enum class Streaming { by_size, never, always };

std::string to_string(Streaming streaming);

/// By size, results stream from this on: half the last-level cache, at most 16 MiB.
int64_t streaming_bytes(int64_t last_level_cache);

/// Whether a result of so many bytes should be written with streaming stores. Asked once, when a kernel is
/// planned.
bool streams(int64_t bytes);

/// What streams() answers from now on; products and executors that are planned already keep their answer. At
/// first it is what ENMESH_STREAMING says (by_size, never or always; an unknown value is refused), by_size if
/// it is not set.
void set_streaming(Streaming streaming);
Streaming streaming();

/// Every thread calls this after its last streaming store: until then, no other thread may read what it
/// wrote, not even behind a barrier.
void finish_streaming();

/// Whether a streaming store of a whole line may go there. It faults at any other address.
inline bool line_aligned(const void* at) { return (reinterpret_cast<uintptr_t>(at) & 63) == 0; }

/// Bytes of the last-level cache that this process's first processor reaches, 32 MiB where the system does
/// not say. On a virtual machine it is often the host's whole cache.
int64_t last_level_cache_bytes();

/// The same from a folder such as Linux's /sys/devices/system/cpu/cpu0/cache; 0 if it tells no size.
int64_t last_level_cache_bytes(const std::filesystem::path& folder);

}  // namespace enmesh
