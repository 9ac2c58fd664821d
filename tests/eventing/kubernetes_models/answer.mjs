// Answers questions about Kubernetes documents from the models in a folder of packages, the first
// argument. A question and its answer are a line of JSON each:
//   {model, document} → {faults: [{path, message}]}    what the model has against the document
//   {model}           → {fields}                       all its fields, as a JSON Schema
// A question that has no answer gives {error}.
//
// The models' own check lets unknown fields through. But it looks at each field that it knows,
// whether the document has it or not, and at no other. So what it looks at is what it knows.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const PACKAGES = pathToFileURL(`${process.argv[2]}/`);
const ITEM = Symbol("an item of an array");
const DEEPEST = 25; // Deeper than any kind without a field that holds its own like.

async function check(model) {
  const { [model.split("/").at(-1).replace(/\.js$/, "")]: found } = await import(
    new URL(model, PACKAGES)
  );
  return (document) => {
    try {
      found.prototype.validate.call(document);
      return [];
    } catch (error) {
      if (error.errors === undefined) throw error;
      return error.errors.map(({ instancePath, message }) => ({ path: instancePath, message }));
    }
  };
}

function faults(validate, document) {
  const unseen = new Set();
  const found = validate(watched(document, "", unseen));
  for (const path of unseen) {
    if (![...unseen].some((above) => path.startsWith(`${above}/`))) {
      found.push({ path, message: "is not a field that the schema knows" });
    }
  }
  return found;
}

// The value with the same content, and the path of each field in `unseen` until it is looked at.
function watched(value, path, unseen) {
  if (Array.isArray(value)) return value.map((each, at) => watched(each, `${path}/${at}`, unseen));
  if (value === null || typeof value !== "object") return value;
  const below = (name) => `${path}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
  const inner = Object.entries(value).map(([name, each]) => {
    unseen.add(below(name));
    return [name, watched(each, below(name), unseen)];
  });
  return new Proxy(Object.fromEntries(inner), {
    get(target, name) {
      if (typeof name === "string") unseen.delete(below(name));
      return target[name];
    },
  });
}

function fields(validate, steps = []) {
  if (steps.length > DEEPEST) throw new Error(`no end of fields in ${steps.map(String).join(".")}`);
  const { names, listed } = lookedFor(validate, steps);
  if (names.size > 0) {
    const properties = [...names].map((name) => [name, fields(validate, [...steps, name])]);
    return { properties: Object.fromEntries(properties) };
  }
  if (listed) return { additionalProperties: fields(validate, [...steps, "any"]) };
  const item = lookedFor(validate, [...steps, ITEM]);
  if (item.names.size > 0 || item.listed) return { items: fields(validate, [...steps, ITEM]) };
  return {};
}

// What the check looks for in an object that stands where the steps lead.
function lookedFor(validate, steps) {
  const found = { names: new Set(), listed: false };
  const object = new Proxy({}, {
    get(_, name) {
      if (typeof name === "string") found.names.add(name);
    },
    ownKeys() {
      found.listed = true;
      return [];
    },
  });
  const around = (inner, step) => (step === ITEM ? [inner] : { [step]: inner });
  validate(steps.reduceRight(around, object));
  return found;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const { model, document } = JSON.parse(line);
    const validate = await check(model);
    answer =
      document === undefined
        ? { fields: fields(validate) }
        : { faults: faults(validate, document) };
  } catch (error) {
    answer = { error: String(error.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
