#!/bin/sh
# Compiles assembly/ to binary.ts. Needs the network once, for the compiler; the result is committed, so that using Graft does not.
set -eu
cd "$(dirname "$0")"
out="$(mktemp -d)"
npx --yes -p assemblyscript@0.28.20 asc assembly/index.ts --outFile "$out/kernels.wasm" \
  -O3 --noAssert --enable simd --runtime stub --importMemory --use abort=
{
  echo '/** assembly/ compiled by build.sh: WebAssembly with SIMD, base64. */'
  printf "export const KERNELS =\n  '"
  base64 -w 0 "$out/kernels.wasm"
  echo "';"
} > binary.ts
rm -r "$out"
