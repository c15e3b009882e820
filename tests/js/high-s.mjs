// node high-s.mjs <rawTxHex>
//
// Prints the same typed transaction with the other valid signature: s' = p - s and the other parity.
// It recovers to the same sender, and every strict judge must refuse it (EIP-2). Done by hand on the
// RLP list, because libraries normalise or refuse what we want to make.
import { decodeRlp, encodeRlp, getBytes, toBeHex } from "ethers";

const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

const raw = process.argv[2];
if (raw === undefined || process.argv.length !== 3) {
  console.error("usage: node high-s.mjs <rawTxHex>");
  process.exit(2);
}

try {
  const hex = raw.startsWith("0x") ? raw : `0x${raw}`;
  const type = getBytes(hex)[0];
  if (type < 1 || type > 2) throw new Error(`type ${type}: only EIP-2930 and EIP-1559 transactions`);
  const fields = decodeRlp(`0x${hex.slice(4)}`);
  const expected = type === 1 ? 11 : 12; // the last three are parity, r, s
  if (!Array.isArray(fields) || fields.length !== expected) {
    throw new Error(`expected a list of ${expected} fields`);
  }
  const [parity, , s] = fields.slice(-3);
  fields[expected - 3] = parity === "0x" ? "0x01" : "0x"; // RLP writes zero as the empty string
  fields[expected - 1] = toBeHex(ORDER - BigInt(s));
  console.log(`0x0${type}${encodeRlp(fields).slice(2)}`);
} catch (error) {
  console.error(`high-s: ${error.shortMessage ?? error.message}`);
  process.exit(1);
}
