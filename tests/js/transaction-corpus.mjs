// node transaction-corpus.mjs <seed> <count>
//
// Random transactions of all five types as an independent client (ethers) builds them, signs them and
// reads them, and damaged ones as it reads those: one JSON object a line.
//   about | bytes: unsigned | read: what ethers reads in them, null if it refuses
//   raw, r, s, yParity: the same transaction signed, where it is not damaged
// `read` has, besides the fields (integers as decimals), `canonical`: what ethers writes for them.
import { Transaction, Wallet, decodeRlp, encodeRlp, getBytes, hexlify } from "ethers";
import { damage, generator } from "./random.mjs";

const [seed, count] = process.argv.slice(2).map(Number);
if (!Number.isInteger(seed) || !Number.isInteger(count)) {
  console.error("usage: node transaction-corpus.mjs <seed> <count>");
  process.exit(2);
}
const random = generator(seed);
// Anvil's and hardhat's first account.
const wallet = new Wallet("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

const accessList = () =>
  random.times(3, () => ({ address: random.hex(20), storageKeys: random.times(3, () => random.hex(32)) }));
const authorization = () => ({
  chainId: random.number(64),
  address: random.hex(20),
  nonce: random.number(64),
  // A published signature: ethers refuses what is none.
  signature: wallet.signingKey.sign(random.hex(32)),
});

// Fees and gas together stay below 2^256.
function build() {
  const type = random.below(5);
  const fee = random.number(random.pick([40, 64, 128, 180]));
  const common = {
    type,
    chainId: random.number(64) || 1n,
    nonce: Number(random.number(53)),
    gasLimit: random.number(64),
    to: (type < 3 && random.chance(15)) ? null : random.hex(20),
    value: random.number(random.pick([64, 128, 256])),
    data: random.hex(random.length()),
  };
  if (type < 2) {
    return Transaction.from({ ...common, gasPrice: fee, ...(type === 1 ? { accessList: accessList() } : {}) });
  }
  const dynamic = { ...common, maxFeePerGas: fee, maxPriorityFeePerGas: fee >> BigInt(random.below(9)), accessList: accessList() };
  if (type === 3) {
    const hash = () => `0x01${random.hex(31).slice(2)}`;
    dynamic.maxFeePerBlobGas = random.number(128);
    dynamic.blobVersionedHashes = [hash(), ...random.times(5, hash)];
  }
  if (type === 4) dynamic.authorizationList = [authorization(), ...random.times(2, authorization)];
  return Transaction.from(dynamic);
}

function read(hex) {
  let tx;
  try {
    tx = Transaction.from(hex);
    const blobFee = (tx.maxFeePerBlobGas ?? 0n) * BigInt(tx.blobVersionedHashes?.length ?? 0) * 131072n;
    return {
      type: tx.type,
      signed: tx.signature !== null,
      chainId: tx.chainId,
      nonce: tx.nonce,
      gasLimit: tx.gasLimit,
      maxFeePerGas: tx.type < 2 ? tx.gasPrice : tx.maxFeePerGas,
      maxPriorityFeePerGas: tx.type < 2 ? tx.gasPrice : tx.maxPriorityFeePerGas,
      to: tx.to,
      value: tx.value,
      data: tx.data,
      maxFee: (tx.type < 2 ? tx.gasPrice : tx.maxFeePerGas) * tx.gasLimit + blobFee,
      maxFeePerBlobGas: tx.maxFeePerBlobGas ?? 0n,
      accessList: (tx.accessList ?? []).map((entry) => [entry.address, entry.storageKeys]),
      blobVersionedHashes: tx.blobVersionedHashes ?? [],
      authorizations: (tx.authorizationList ?? []).map((one) => [
        String(one.chainId), one.address, String(one.nonce), one.signature.yParity, one.signature.r, one.signature._s,
      ]),
      canonical: tx.unsignedSerialized,
      digest: tx.unsignedHash,
    };
  } catch {
    return null;
  }
}

function changeItem(list) {
  const at = random.below(list.length + 1);
  if (at === list.length) {
    random.chance(50) ? list.pop() : list.push(random.pick(["0x", "0x01", []]));
  } else if (Array.isArray(list[at]) && random.chance(80)) {
    changeItem(list[at]);
  } else {
    list[at] = random.pick(["0x", "0x00", "0x01", "0x0001", random.hex(1 + random.below(34)), random.hex(8), random.hex(20), random.hex(32), [], ["0x"]]);
  }
}

// The same fields with one of them changed: mostly well-formed bytes that mean something else.
function changeField(hex) {
  const legacy = getBytes(hex)[0] >= 0xc0;
  const fields = decodeRlp(legacy ? hex : `0x${hex.slice(4)}`);
  changeItem(fields);
  return (legacy ? "" : hex.slice(0, 4)) + encodeRlp(fields).slice(legacy ? 0 : 2);
}

const text = (_, value) => (typeof value === "bigint" ? value.toString() : value);
const print = (line) => console.log(JSON.stringify(line, text));
for (let i = 0; i < count; i += 1) {
  const tx = build();
  const bytes = tx.unsignedSerialized;
  const signed = tx.clone();
  signed.signature = wallet.signingKey.sign(tx.unsignedHash);
  const { r, s, yParity } = signed.signature;
  // A signed one must not pass as an unsigned one.
  const raw = signed.serialized;
  print({ about: "whole", bytes, read: read(bytes), raw, r, s, yParity });
  print({ about: "signed", bytes: raw, read: read(raw) });
  for (const kind of damage) {
    const broken = hexlify(kind(random, getBytes(bytes)));
    print({ about: kind.name, bytes: broken, read: read(broken) });
  }
  for (let n = 0; n < 3; n += 1) {
    const changed = changeField(bytes);
    print({ about: "changeField", bytes: changed, read: read(changed) });
  }
}
