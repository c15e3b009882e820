// node abi-corpus.mjs <seed> <count>
//
// Random calls as an independent client (ethers) encodes them, and damaged ones as it decodes those: one JSON
// object a line.
//   about | signature: text | selector | data: what follows the selector
//   leaves: [path, type, value as text] of everything without parts, null if ethers does not decode the data
//   lengths: [path, count] of the arrays | canonical: what ethers encodes for what it decoded
import { AbiCoder, FunctionFragment, getAddress, getBytes, hexlify } from "ethers";
import { damage, generator } from "./random.mjs";

const [seed, count] = process.argv.slice(2).map(Number);
if (!Number.isInteger(seed) || !Number.isInteger(count)) {
  console.error("usage: node abi-corpus.mjs <seed> <count>");
  process.exit(2);
}
const random = generator(seed);
const coder = AbiCoder.defaultAbiCoder();

function makeType(depth) {
  const brackets = Array.from({ length: Math.max(0, random.below(4) - 1) }, () =>
    random.chance(50) ? "[]" : `[${1 + random.below(3)}]`).join("");
  if (depth > 0 && random.chance(25)) {
    const members = [makeType(depth - 1), ...random.times(3, () => makeType(depth - 1))];
    return `(${members.join(",")})${brackets}`;
  }
  return random.pick([
    `uint${8 * (1 + random.below(32))}`, `int${8 * (1 + random.below(32))}`, `bytes${1 + random.below(32)}`,
    "uint256", "bool", "address", "bytes", "string",
  ]) + brackets;
}

const split = (list) => {
  const [parts, state] = [[], { open: 0, from: 0 }];
  [...list].forEach((letter, at) => {
    if (letter === "(") state.open += 1;
    if (letter === ")") state.open -= 1;
    if (letter === "," && state.open === 0) {
      parts.push(list.slice(state.from, at));
      state.from = at + 1;
    }
  });
  if (list !== "") parts.push(list.slice(state.from));
  return parts;
};

function makeValue(type) {
  const array = type.match(/^(.*)\[(\d*)\]$/);
  if (array) {
    return Array.from({ length: array[2] === "" ? random.below(4) : Number(array[2]) }, () => makeValue(array[1]));
  }
  if (type.startsWith("(")) return split(type.slice(1, -1)).map(makeValue);
  const [, kind, size] = type.match(/^([a-z]+)(\d*)$/);
  switch (kind) {
    case "uint": return random.number(Number(size));
    case "int": return BigInt.asIntN(Number(size), random.number(Number(size)));
    case "bool": return random.chance(50);
    case "address": return random.hex(20);
    case "bytes": return random.hex(size === "" ? random.length() : Number(size));
    default: return Array.from({ length: random.length() }, () => random.pick([..."ab é\u{1f680}\0"])).join("");
  }
}

// Everything in a value, as text; a part that ethers could not decode throws here.
function walk(type, value, path, found) {
  const array = type.match(/^(.*)\[(\d*)\]$/);
  if (array) {
    found.lengths.push([path, value.length]);
    for (let i = 0; i < value.length; i += 1) walk(array[1], value[i], [...path, i], found);
  } else if (type.startsWith("(")) {
    split(type.slice(1, -1)).forEach((member, i) => walk(member, value[i], [...path, i], found));
  } else {
    found.leaves.push([path, type, type === "address" ? getAddress(value) : String(value)]);
  }
}

function read(types, data) {
  const found = { leaves: [], lengths: [] };
  try {
    const values = coder.decode(types, data);
    types.forEach((type, i) => walk(type, values[i], [i], found));
    return { ...found, canonical: coder.encode(types, values) };
  } catch {
    return { leaves: null, lengths: null, canonical: null };
  }
}

// One word replaced: mostly offsets, lengths and padding that are almost right.
function word(bytes) {
  const out = Uint8Array.from(bytes);
  const at = 32 * random.below(out.length / 32);
  const low = random.pick([0, 1, 0x1f, 0x20, 0x40, 0x60, 0x80, 0xa0, 0xff]);
  if (random.chance(50)) out[at + 31] = low;
  else out[at + random.below(32)] ^= 1 << random.below(8);
  return out;
}

for (let i = 0; i < count; i += 1) {
  const types = random.times(4, () => makeType(3));
  const signature = `${random.pick(["transfer", "f", "_x$9"])}(${types.join(",")})`;
  const fragment = FunctionFragment.from(`function ${signature}`);
  if (fragment.format("sighash") !== signature) throw new Error(`not canonical: ${signature}`);
  const common = { signature, selector: fragment.selector };
  const data = coder.encode(types, types.map(makeValue));
  console.log(JSON.stringify({ about: "whole", ...common, data, ...read(types, data) }));
  const bytes = getBytes(data);
  if (bytes.length === 0) continue;
  const broken = [...damage.map((kind) => [kind.name, kind(random, bytes)]), ...[1, 2, 3].map(() => ["word", word(bytes)])];
  for (const [about, result] of broken) {
    const hex = hexlify(result);
    console.log(JSON.stringify({ about, ...common, data: hex, ...read(types, hex) }));
  }
}
