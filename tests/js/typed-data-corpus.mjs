// node typed-data-corpus.mjs <seed> <count>
//
// Random typed data (EIP-712) as an independent client (ethers) sends and hashes it: one JSON object a line.
//   json: what eth_signTypedData_v4 gets | digest | type: the text of the primary type
//   leaves: [path, type, value as text] of everything in the message that has no parts
//   lengths: [path, count] of the arrays
import { TypedDataEncoder, getAddress } from "ethers";
import { generator } from "./random.mjs";

const [seed, count] = process.argv.slice(2).map(Number);
if (!Number.isInteger(seed) || !Number.isInteger(count)) {
  console.error("usage: node typed-data-corpus.mjs <seed> <count>");
  process.exit(2);
}
const random = generator(seed);

const name = (taken) => {
  for (;;) {
    const letters = "ABYZabyz_$09";
    const text = Array.from({ length: 1 + random.below(5) }, () => random.pick(letters)).join("");
    if (/^[A-Za-z_$]/.test(text) && !taken.has(text)) {
      taken.add(text);
      return text;
    }
  }
};
const elementary = () => random.pick([
  `uint${8 * (1 + random.below(32))}`, `int${8 * (1 + random.below(32))}`, `bytes${1 + random.below(32)}`,
  "uint256", "bool", "address", "bytes", "string",
]);
const brackets = (most) => Array.from({ length: random.below(most + 1) }, () =>
  random.chance(50) ? "[]" : `[${1 + random.below(3)}]`).join("");

// Three levels of structs, each needed by one of the level above; what is inside is at most 8 deep.
function makeTypes() {
  const [taken, levels] = [new Set(), [[], [], []]];
  levels[0].push(name(taken));
  for (const level of [1, 2]) {
    if (levels[level - 1].length === 0) break;
    levels[level] = random.times(2, () => name(taken));
  }
  const types = {};
  levels.forEach((structs, level) => structs.forEach((struct) => {
    const names = new Set();
    types[struct] = [
      { name: name(names), type: elementary() + (random.chance(40) ? brackets(3) : "") },
      ...random.times(4, () => ({ name: name(names), type: elementary() })),
    ];
    // Who needs it, once or twice.
    if (level > 0) {
      for (let n = 0; n <= random.below(2); n += 1) {
        const parent = types[random.pick(levels[level - 1])];
        const used = new Set(parent.map((field) => field.name));
        parent.splice(random.below(parent.length + 1), 0, { name: name(used), type: struct + brackets(1) });
      }
    }
  }));
  return { types, primary: levels[0][0] };
}

const text = () => Array.from({ length: random.length() }, () => random.pick([..."ab é\u{1f680}\0\"\\"])).join("");

// Integers in every way in which JSON has them; the rest in one.
const write = (number) => {
  if (number >= -(2n ** 53n) && number <= 2n ** 53n && random.chance(50)) return Number(number);
  return (number >= 0n && random.chance(30)) ? `0x${number.toString(16)}` : number.toString();
};

function make(types, type, path, found) {
  const array = type.match(/^(.*)\[(\d*)\]$/);
  if (array) {
    const length = array[2] === "" ? random.below(4) : Number(array[2]);
    found.lengths.push([path, length]);
    return Array.from({ length }, (_, i) => make(types, array[1], [...path, i], found));
  }
  if (types[type]) {
    return Object.fromEntries(types[type].map((field) =>
      [field.name, make(types, field.type, [...path, field.name], found)]));
  }
  const leaf = (value, json) => {
    found.leaves.push([path, type, String(value)]);
    return json ?? value;
  };
  const [, kind, size] = type.match(/^([a-z]+)(\d*)$/);
  switch (kind) {
    case "uint": {
      const number = random.number(Number(size));
      return leaf(number, write(number));
    }
    case "int": {
      const number = BigInt.asIntN(Number(size), random.number(Number(size)));
      return leaf(number, write(number));
    }
    case "bool": return leaf(random.chance(50));
    case "address": {
      const address = getAddress(random.hex(20));
      return leaf(address, random.chance(50) ? address : address.toLowerCase());
    }
    case "bytes": return leaf(random.hex(size === "" ? random.length() : Number(size)));
    default: return leaf(text());
  }
}

function makeDomain() {
  const domain = {};
  if (random.chance(70)) domain.name = text();
  if (random.chance(50)) domain.version = String(random.below(9));
  if (random.chance(80)) domain.chainId = write(random.number(random.pick([8, 53, 256])));
  if (random.chance(70)) domain.verifyingContract = getAddress(random.hex(20));
  if (random.chance(20)) domain.salt = random.hex(32);
  return domain;
}

for (let i = 0; i < count; i += 1) {
  const { types, primary } = makeTypes();
  const found = { leaves: [], lengths: [] };
  const message = make(types, primary, [], found);
  const domain = makeDomain();
  const encoder = TypedDataEncoder.from(types);
  if (encoder.primaryType !== primary) throw new Error("another primary type");
  // As ethers sends it, and as others do: without the domain's type, integers as they please.
  const json = random.chance(50)
    ? TypedDataEncoder.getPayload(domain, types, message)
    : { types, primaryType: primary, domain, message };
  const digest = TypedDataEncoder.hash(domain, types, message);
  console.log(JSON.stringify({ json, digest, type: encoder.encodeType(primary), ...found }));
}
