// node audit.mjs <export> <identity>
//
// An auditor's own check of an export of an audit log: nothing but SHA-256 and the identity that signed its
// head, as Node's crypto module has them, and BIP-340, which it has not. It prints one JSON object on one line,
// or says what is wrong.
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { schnorr } from "@noble/curves/secp256k1";

const [file, identity] = process.argv.slice(2);
if (identity === undefined || process.argv.length !== 4) {
  console.error("usage: node audit.mjs <export> <identity>");
  process.exit(2);
}

function fail(why) {
  console.error(`audit: ${why}`);
  process.exit(1);
}

function number(value, bytes) {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64BE(BigInt(value));
  return buffer.subarray(8 - bytes);
}

// H(tag, fields): each with its length before it, after the name of the protocol.
function hash(...fields) {
  const state = createHash("sha256");
  for (const field of [Buffer.from("quorate/1"), ...fields]) {
    state.update(number(field.length, 4)).update(field);
  }
  return state.digest();
}

// RFC 8410, and RFC 5480 with a compressed point.
const SPKI = {
  ed25519: "302a300506032b6570032100",
  p256: "3039301306072a8648ce3d020106082a8648ce3d030107032200",
};

function isSigned(message, signature, by = identity) {
  const [kind, point] = by.split(":");
  if (kind === "secp256k1") {
    return schnorr.verify(new Uint8Array(signature), new Uint8Array(message), point);
  }
  if (!(kind in SPKI)) fail(`a key of a kind that is not known here: ${by}`);
  const der = Buffer.from(SPKI[kind] + point, "hex");
  const key = createPublicKey({ key: der, format: "der", type: "spki" });
  if (kind === "ed25519") return verify(null, message, key, signature);
  return verify("sha256", message, { key, dsaEncoding: "ieee-p1363" }, signature);
}

const lines = readFileSync(file, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
const end = lines.pop();
const head = end.signed_head ?? fail("no signed head");
let previous = Buffer.alloc(32);
let signed;
const hashes = new Map();
lines.forEach((entry, index) => {
  if (entry.number !== index + 1) fail(`entry ${index + 1} is missing`);
  if (entry.previous !== previous.toString("hex")) fail(`entry ${entry.number} follows another`);
  previous = hash(Buffer.from("audit"), previous, number(entry.number, 8), Buffer.from(entry.record));
  if (entry.hash !== previous.toString("hex")) fail(`entry ${entry.number} has another hash`);
  if (entry.number === head.number) signed = entry.hash;
  hashes.set(entry.number, entry.hash);
});
if (signed !== head.hash) fail("the signed entry is another, or not there");
const hex = (text) => Buffer.from(text, "hex");

function isHeadSigned(head) {
  const fields = [number(head.party, 2), number(head.generation, 4), number(head.number, 8)];
  fields.push(hex(head.hash), number(head.time, 8));
  return isSigned(hash(Buffer.from("identity-head"), hex(head.network), ...fields), hex(head.signature));
}

if (!isHeadSigned(head)) fail("the head is not signed");

// Peers: each has a session key that its identity key certified, and signed the head with that.
const countersigned = end.countersigned.map((one) => {
  const [network, seen] = [hex(one.head.network), one.head];
  if (!isHeadSigned(seen)) fail(`the head that party ${one.witness} saw is not signed`);
  if (hashes.get(seen.number) !== seen.hash) fail(`party ${one.witness} saw another entry ${seen.number}`);
  const session = hash(Buffer.from("audit-head-session"), network);
  const [kind, point] = one.session_key.split(":");
  const code = number(["ed25519", "p256", "secp256k1"].indexOf(kind), 1);
  const certified = [number(one.witness, 2), hex(one.boot), code, hex(point), session];
  const certificate = hash(Buffer.from("session-key"), network, ...certified);
  if (!isSigned(certificate, hex(one.certificate), one.identity)) fail("a session key is not certified");
  const fields = [number(seen.party, 2), number(seen.generation, 4), number(seen.number, 8), hex(seen.hash)];
  fields.push(number(seen.time, 8), number(one.witness, 2), hex(one.boot), number(one.time, 8));
  const given = hash(Buffer.from("countersigned-head"), network, ...fields);
  if (!isSigned(given, hex(one.signature), one.session_key)) fail("a countersignature is wrong");
  return { party: one.witness, identity: one.identity, entry: seen.number };
});
console.log(JSON.stringify({ entries: lines.length, party: head.party, signed: head.number, countersigned }));
