import { open } from 'node:fs/promises';

/** `e_machine` of the ELF format -> what Node calls the processor. */
const MACHINE_TO_ARCH: Readonly<Record<number, string>> = { 0x03: 'ia32', 0x28: 'arm', 0x3e: 'x64', 0xb7: 'arm64', 0xf3: 'riscv64', 0x15: 'ppc64', 0x16: 's390x' };

/** The processor that a shared library is for, as Node names it; undefined where the file is no ELF file. */
export async function architectureOf(file: string): Promise<string | undefined> {
  const handle = await open(file);
  try {
    const header = Buffer.alloc(20);
    const { bytesRead } = await handle.read(header, 0, header.length, 0);
    if (bytesRead < header.length || header.readUInt32BE(0) !== 0x7f454c46) return undefined;
    const machine = header[5] === 2 ? header.readUInt16BE(18) : header.readUInt16LE(18);
    return MACHINE_TO_ARCH[machine] ?? `processor ${machine}`;
  } finally {
    await handle.close();
  }
}
