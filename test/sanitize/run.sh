#!/usr/bin/env bash
# The native engine under AddressSanitizer and UndefinedBehaviorSanitizer with random calls, and its threads under ThreadSanitizer:
#   test/sanitize/run.sh [SECONDS of each] [SEED]
# The sanitized addon lies beside the usual one, which is left as it is. Ends with 1 where something was found.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
seed=${2:-$((RANDOM * 32768 + RANDOM))}
native=plugins/engine-native/native
echo "seconds $seconds, seed $seed"

mkdir -p build/sanitize
"${CXX:-c++}" -std=c++17 -O1 -g -fsanitize=thread -Wno-psabi -pthread -I "$native" \
  test/sanitize/stress.cc "$native"/runtime/*.cc "$native"/ops/*.cc "$native"/isa/isa_base.cc -o build/sanitize/stress
TSAN_OPTIONS=halt_on_error=1 build/sanitize/stress "$seconds" "$seed"

npm_lifecycle_event=build:native GRAFT_SANITIZE=address,undefined node "$native/build.mjs"
# Node itself is not sanitized: its leaks and its own handling of signals are none of ours.
export LD_PRELOAD=$("${CXX:-c++}" -print-file-name=libasan.so)
export ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0:handle_segv=1:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
GRAFT_ADDON=$PWD/$native/build/Sanitized/graft_native.node node --import tsx test/sanitize/fuzz.ts "$seconds" "$seed"
