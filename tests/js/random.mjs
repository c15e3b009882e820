// Seeded randomness for the corpora, and damage to bytes: the same seed gives the same lines.

// splitmix32: small, and good enough to choose cases.
export function generator(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
  const below = (count) => next() % count;
  const bytes = (length) => Uint8Array.from({ length }, () => next() & 255);
  const hex = (length) => `0x${Buffer.from(bytes(length)).toString("hex")}`;
  const pick = (list) => list[below(list.length)];
  const chance = (percent) => below(100) < percent;
  // Of up to so many bits, and often where an encoding changes its shape.
  const number = (bits) => {
    const max = (1n << BigInt(bits)) - 1n;
    if (chance(30)) return pick([0n, 1n, 0x7fn, 0x80n, 0xffn, 0x100n, max - 1n, max].filter((n) => n <= max));
    return BigInt(hex(32)) & ((1n << BigInt(1 + below(bits))) - 1n);
  };
  const length = () => (chance(50) ? below(5) : pick([20, 31, 32, 33, 54, 55, 56, 57, 64, 100, 255, 256, 300]));
  const times = (most, make) => Array.from({ length: below(most + 1) }, make);
  return { next, below, bytes, hex, pick, chance, number, length, times };
}

// One kind of damage to bytes; `damage.length` kinds there are.
export const damage = [
  function flip(random, bytes) {
    const out = Uint8Array.from(bytes);
    out[random.below(out.length)] ^= 1 << random.below(8);
    return out;
  },
  function replace(random, bytes) {
    const out = Uint8Array.from(bytes);
    out[random.below(out.length)] = random.pick([0, 1, 0x7f, 0x80, 0x81, 0x94, 0xa0, 0xb8, 0xc0, 0xc1, 0xf8, 0xff]);
    return out;
  },
  function truncate(random, bytes) {
    return bytes.slice(0, random.below(bytes.length));
  },
  function insert(random, bytes) {
    const at = random.below(bytes.length + 1);
    return Uint8Array.from([...bytes.slice(0, at), ...random.bytes(1 + random.below(3)), ...bytes.slice(at)]);
  },
  function remove(random, bytes) {
    const at = random.below(bytes.length);
    return Uint8Array.from([...bytes.slice(0, at), ...bytes.slice(at + 1 + random.below(3))]);
  },
  function append(random, bytes) {
    return Uint8Array.from([...bytes, ...random.bytes(1 + random.below(4))]);
  },
];
