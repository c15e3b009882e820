// node wallet.mjs KEY MESSAGE
//
// A wallet (ethers) signs a message for people (EIP-191): its address and the signature, as a JSON array.
import { Wallet } from "ethers";

const [key, message] = process.argv.slice(2);
const wallet = new Wallet(key);
console.log(JSON.stringify([wallet.address, await wallet.signMessage(message)]));
