#include "isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace graft {

#if defined(__x86_64__)
namespace {

// Half precision conversions: no name of __builtin_cpu_supports in Clang before 16.
bool hasF16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

}  // namespace
#endif

IsaList availableIsas() {
  IsaList found{{nullptr, nullptr, nullptr, nullptr}, 0};
  const auto add = [&](const Isa& isa) { found.list[found.count++] = &isa; };
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && hasF16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) add(isaAvx512Bf16());
  if (avx512) add(isaAvx512());
  if (avx2) add(isaAvx2());
#endif
  add(isaBase());
  return found;
}

}  // namespace graft
