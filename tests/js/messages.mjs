// node messages.mjs
//
// Messages as an independent client (ethers) hashes them: hexadecimal and digest, one JSON array a line.
import { hashMessage, hexlify } from "ethers";
import { generator } from "./random.mjs";

const random = generator(191);
for (const length of [...Array.from({ length: 102 }, (_, n) => n), 255, 256, 999, 1000, 9999, 10000, 16384]) {
  const bytes = random.bytes(length);
  console.log(JSON.stringify([hexlify(bytes), hashMessage(bytes)]));
}
