// SPDX-License-Identifier: Apache-2.0
#include "identity/wiping_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace vtpm::identity {
namespace {

// NOLINTBEGIN(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory): C owns what it gets
void* allocate(std::size_t size, const char* /*file*/, int /*line*/) noexcept {
  return std::malloc(size);
}
void release(void* memory, const char* /*file*/, int /*line*/) noexcept {
  if (memory == nullptr) return;
  OPENSSL_cleanse(memory, ::malloc_usable_size(memory));
  std::free(memory);
}
// realloc() may leave a copy behind.
void* reallocate(void* old, std::size_t size, const char* file, int line) noexcept {
  void* const memory = std::malloc(size);
  if (memory == nullptr || old == nullptr) return memory;
  std::memcpy(memory, old, std::min(size, ::malloc_usable_size(old)));
  release(old, file, line);
  return memory;
}
// NOLINTEND(cppcoreguidelines-no-malloc,cppcoreguidelines-owning-memory)

}  // namespace

bool wipe_what_openssl_frees() {
  return CRYPTO_set_mem_functions(allocate, reallocate, release) == 1;
}

}  // namespace vtpm::identity
