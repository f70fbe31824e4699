// One form control per JSON Schema: what it shows, and how its text becomes a value.

/** Follows `$ref` within `root`, and looks through a "this or null". */
export function resolve(schema, root) {
  let found = schema ?? {};
  for (let hops = 0; found.$ref?.startsWith("#") && hops < 8; hops++) {
    const path = found.$ref.slice(1).split("/").slice(1);
    const target = path.reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], root);
    const { $ref, ...beside } = found;
    found = { ...target, ...beside };
  }
  const choices = (found.anyOf ?? found.oneOf ?? []).filter((choice) => choice.type !== "null");
  if (choices.length === 1) {
    const { anyOf, oneOf, ...beside } = found;
    return { ...resolve(choices[0], root), ...beside };
  }
  return found;
}

/** Which control fits: a plain JSON type, `enum`, `numbers` for a list of them, `either` for a plain value or a list, or
 *  `json` for all else. */
export function kindOf(schema) {
  if (schema.enum || schema.const !== undefined) return "enum";
  const types = typesOf(schema);
  if (types.length !== 1) return plainBranch(schema) ? "either" : "json";
  if (types[0] === "array") return NUMBERS.has(typesOf(schema.items ?? {})[0]) ? "numbers" : "json";
  return PLAIN.has(types[0]) || types[0] === "boolean" ? types[0] : "json";
}

const NUMBERS = new Set(["integer", "number"]);
const PLAIN = new Set(["string", ...NUMBERS]);

function typesOf(schema) {
  return [schema.type ?? []].flat().filter((type) => type !== "null");
}

function plainBranch(schema) {
  return (schema.anyOf ?? schema.oneOf ?? []).map((branch) => typesOf(branch)[0]).find((type) => PLAIN.has(type));
}

/** A control: `{ element, read(), write(value), event }`. `read` throws with a sentence when the text is no value. */
export function control(schema, id) {
  switch (kindOf(schema)) {
    case "boolean": return checkbox(id);
    case "enum": return choice(schema, id);
    case "integer":
    case "number": return number(schema, id);
    case "string": return text(schema, id);
    case "numbers": return numbers(id);
    case "either": return either(schema, id);
    default: return json(schema, id);
  }
}

function make(tag, attributes) {
  return Object.assign(document.createElement(tag), attributes);
}

function checkbox(id) {
  const element = make("input", { id, type: "checkbox" });
  return { element, event: "change", read: () => element.checked, write: (value) => { element.checked = Boolean(value); } };
}

function choice(schema, id) {
  const values = schema.enum ?? [schema.const];
  const element = make("select", { id });
  for (const [index, value] of values.entries()) element.add(new Option(String(value ?? "none"), index));
  return {
    element,
    event: "change",
    read: () => values[element.value],
    write: (value) => { element.value = values.indexOf(value); },
  };
}

function number(schema, id) {
  const isWhole = kindOf(schema) === "integer";
  // What is worth trying can be much less than what is allowed.
  const [low, high] = schema["x-ui"]?.range
    ?? [schema.minimum ?? schema.exclusiveMinimum, schema.maximum ?? schema.exclusiveMaximum];
  const hasRange = low !== undefined && high !== undefined && (!isWhole || high - low <= 4096);
  const element = make("input", { id, type: hasRange ? "range" : "number" });
  if (low !== undefined) element.min = low;
  if (high !== undefined) element.max = high;
  element.step = schema.multipleOf ?? (isWhole ? 1 : hasRange ? roundStep(high - low) : "any");
  return {
    element,
    event: "input",
    hasRange,
    read: () => {
      if (element.value === "" || Number.isNaN(element.valueAsNumber)) throw new Error("must be a number");
      return element.valueAsNumber;
    },
    write: (value) => { element.value = value ?? ""; },
  };
}

/** A power of ten, so that no round value falls between two steps. */
function roundStep(range) {
  return Math.max(10 ** Math.floor(Math.log10(range / 200)), 0.01);
}

function text(schema, id) {
  const isLong = schema["x-ui"]?.widget === "textarea" || schema["x-ui"] === "textarea";
  const element = isLong ? make("textarea", { id, rows: 2 }) : make("input", { id, type: "text", autocomplete: "off" });
  let wasNull = false;
  return {
    element,
    event: "input",
    read: () => (wasNull && element.value === "" ? null : element.value),
    write: (value) => {
      wasNull = value === null || value === undefined;
      element.value = typeof value === "string" || wasNull ? value ?? "" : JSON.stringify(value);
    },
  };
}

function numbers(id) {
  const element = make("input", { id, type: "text", inputMode: "decimal", autocomplete: "off" });
  return {
    element,
    event: "input",
    read: () => {
      const values = element.value.split(/[\s,;]+/).filter(Boolean).map(Number);
      if (values.length === 0 || values.some(Number.isNaN)) throw new Error("must be numbers, with commas between them");
      return values;
    },
    write: (value) => { element.value = (value ?? []).join(", "); },
  };
}

function either(schema, id) {
  const element = make("input", { id, type: "text", autocomplete: "off" });
  const isNumber = NUMBERS.has(plainBranch(schema));
  return {
    element,
    event: "input",
    read: () => {
      const typed = element.value.trim();
      if (typed.startsWith("[")) return parsed(typed);
      if (!isNumber) return element.value;
      if (typed === "" || Number.isNaN(Number(typed))) throw new Error("must be a number, or a list as JSON");
      return Number(typed);
    },
    write: (value) => { element.value = typeof value === "string" ? value : JSON.stringify(value ?? ""); },
  };
}

function parsed(typed) {
  try {
    return JSON.parse(typed);
  } catch (error) {
    throw new Error(`must be JSON: ${error.message}`);
  }
}

function json(schema, id) {
  const element = make("textarea", { id, rows: 2, className: "code", spellcheck: false });
  return {
    element,
    event: "change",
    isWide: true,
    read: () => parsed(element.value || "null"),
    write: (value) => {
      element.value = JSON.stringify(value ?? null);
      element.rows = element.value.length > 90 ? 4 : 2;
    },
  };
}
