#!/bin/sh
# Compiles assembly/ to binary.ts, once for a memory of one thread and once for a shared one. Needs the network once, for
# the compiler; the result is committed, so that using Graft does not.
set -eu
cd "$(dirname "$0")"
out="$(mktemp -d)"
compile() {
  npx --yes -p assemblyscript@0.28.20 asc assembly/index.ts --outFile "$out/$1.wasm" \
    -O3 --noAssert --enable simd --runtime stub --importMemory --use abort= $2
}
compile own ""
compile shared "--enable threads --sharedMemory --maximumMemory 65536"
{
  echo '/** assembly/ compiled by build.sh: WebAssembly with SIMD, base64; for a memory of one thread, and for a shared one. */'
  printf "export const KERNELS =\n  '"
  base64 -w 0 "$out/own.wasm"
  printf "';\n\nexport const SHARED_KERNELS =\n  '"
  base64 -w 0 "$out/shared.wasm"
  echo "';"
} > binary.ts
rm -r "$out"
