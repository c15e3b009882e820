// node judge.mjs <rawTxHex>
//
// What an independent client (ethers) reads in a raw transaction: one JSON object on one line.
// ethers recovers the sender itself, so `from` does not repeat anything that Quorate says.
// It reads a high s without complaint; `lowS` is therefore computed here.
import { keccak256, Transaction } from "ethers";

// Half the order of secp256k1's group: EIP-2 refuses an s above it.
const HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

const raw = process.argv[2];
if (raw === undefined || process.argv.length !== 3) {
  console.error("usage: node judge.mjs <rawTxHex>");
  process.exit(2);
}

const hex = raw.startsWith("0x") ? raw : `0x${raw}`;
let tx;
try {
  tx = Transaction.from(hex);
  if (tx.signature === null) throw new Error("the transaction is not signed");
} catch (error) {
  console.error(`judge: not a signed transaction: ${error.shortMessage ?? error.message}`);
  process.exit(1);
}

// On a high s, `.s` and `tx.hash` throw; these two are what the bytes say.
const s = tx.signature._s;
console.log(
  JSON.stringify({
    from: tx.from,
    to: tx.to,
    value: tx.value.toString(), // wei, decimal: larger than what a JSON number holds
    chainId: Number(tx.chainId),
    nonce: tx.nonce,
    type: tx.type,
    hash: keccak256(hex),
    r: tx.signature.r,
    s,
    lowS: BigInt(s) <= HALF_ORDER,
  }),
);
