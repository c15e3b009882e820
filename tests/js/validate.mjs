// node validate.mjs SCHEMA DOCUMENTS
//
// Documents before a JSON schema, by an independent validator (ajv). DOCUMENTS is a file with one JSON array
// a line: a part of the schema ("" for all of it), and the document. Prints "ok" or what is wrong, a line each.
import { readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";

const [schema, documents] = process.argv.slice(2);
const ajv = new Ajv({ strict: true, allowUnionTypes: true, strictRequired: false });
ajv.addSchema(JSON.parse(readFileSync(schema, "utf8")), "policy");
for (const line of readFileSync(documents, "utf8").trim().split("\n")) {
  const [part, document] = JSON.parse(line);
  const validate = ajv.getSchema(part === "" ? "policy" : `policy#/$defs/${part}`);
  console.log(validate(document) ? "ok" : ajv.errorsText(validate.errors));
}
