// node verify.mjs message <text> <signature>
// node verify.mjs typed-data <json file> <signature>
// node verify.mjs digest <0x…> <signature>
//
// Who signed, as an independent client (ethers) recovers it: the address on one line.
import { readFileSync } from "node:fs";
import { recoverAddress, verifyMessage, verifyTypedData } from "ethers";

const [kind, what, signature] = process.argv.slice(2);
switch (kind) {
  case "message":
    console.log(verifyMessage(what, signature));
    break;
  case "typed-data": {
    const { domain, types, primaryType, message } = JSON.parse(readFileSync(what, "utf8"));
    // ethers finds the primary type itself, and wants no type for the domain.
    delete types.EIP712Domain;
    if (!(primaryType in types)) throw new Error(`no type ${primaryType}`);
    console.log(verifyTypedData(domain, types, message, signature));
    break;
  }
  case "digest":
    console.log(recoverAddress(what, signature));
    break;
  default:
    console.error("usage: node verify.mjs message|typed-data|digest <what> <signature>");
    process.exit(2);
}
