// node transactions.mjs
//
// Test vectors from an independent client (ethers): EIP-1559 transactions, one JSON object a line.
//   fields, all integers decimal | unsigned | unsignedHash | raw, from: signed with a published dev key
// Nothing is random: the same lines every time.
import { Transaction, Wallet } from "ethers";

// Anvil's and hardhat's first account.
const wallet = new Wallet("0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");

const U64 = 2n ** 64n - 1n;
const U256 = 2n ** 256n - 1n;
const to = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const bytes = (length, first = 0x80) =>
  `0x${Array.from({ length }, (_, i) => ((first + i) & 255).toString(16).padStart(2, "0")).join("")}`;

const base = {
  chainId: 31337n,
  nonce: 0,
  maxPriorityFeePerGas: 1_000_000_000n,
  maxFeePerGas: 2_000_000_000n,
  gasLimit: 21_000n,
  to,
  value: 1n,
  data: "0x",
  accessList: [],
};

// Where an RLP integer changes its shape.
const edges = (max) =>
  [0n, 1n, 0x7fn, 0x80n, 0xffn, 0x100n, 2n ** 32n - 1n, 2n ** 32n, U64 - 1n, U64, U64 + 1n,
    10n ** 18n, 2n ** 128n - 1n, 2n ** 128n, U256 - 1n, U256].filter((n) => n <= max);

const changes = [{}];
for (const value of edges(U256)) changes.push({ value });
for (const chainId of edges(U256)) if (chainId > 0n) changes.push({ chainId });
for (const nonce of edges(2n ** 53n - 1n)) changes.push({ nonce: Number(nonce) }); // ethers' limit
changes.push({ nonce: Number.MAX_SAFE_INTEGER });
for (const gasLimit of edges(U256)) changes.push({ gasLimit });
for (const maxFeePerGas of edges(U256)) {
  changes.push({ maxFeePerGas, maxPriorityFeePerGas: 0n });
  changes.push({ maxFeePerGas, maxPriorityFeePerGas: maxFeePerGas });
  changes.push({ maxFeePerGas, maxPriorityFeePerGas: 0n, gasLimit: 1n });
}
for (const address of [null, `0x${"00".repeat(20)}`, `0x${"00".repeat(19)}01`, `0x${"ff".repeat(20)}`]) {
  changes.push({ to: address, data: "0x6000" });
}
for (const length of [1, 2, 4, 36, 54, 55, 56, 57, 68, 255, 256, 257, 1000, 65_535, 65_536, 70_000]) {
  changes.push({ data: bytes(length) }, { data: bytes(length, 0) });
}
for (const byte of [0, 1, 0x7f, 0x80, 0xff]) changes.push({ data: bytes(1, byte) });
for (const keys of [[], [bytes(32)], [bytes(32, 0), bytes(32, 7), bytes(32, 0)]]) {
  changes.push({ accessList: [{ address: to, storageKeys: keys }] });
  changes.push({
    to: null,
    value: U256,
    data: bytes(100),
    accessList: [
      { address: to, storageKeys: keys },
      { address: `0x${"11".repeat(20)}`, storageKeys: [] },
      { address: to, storageKeys: keys },
    ],
  });
}

const text = (_, value) => (typeof value === "bigint" ? value.toString() : value);
for (const change of changes) {
  const tx = Transaction.from({ type: 2, ...base, ...change });
  const unsigned = { unsigned: tx.unsignedSerialized, unsignedHash: tx.unsignedHash };
  tx.signature = wallet.signingKey.sign(tx.unsignedHash);
  const signed = { raw: tx.serialized, from: tx.from, r: tx.signature.r, s: tx.signature.s,
    yParity: tx.signature.yParity };
  const fields = { ...base, ...change };
  console.log(JSON.stringify({ ...fields, nonce: String(fields.nonce), ...unsigned, ...signed }, text));
}
