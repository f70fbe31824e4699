// The parameter panel: one control for every property of a pipeline's schema, and the values they hold.

import { control, kindOf, resolve } from "./fields.js";

/** Chosen elsewhere on the page. */
const ELSEWHERE = new Set(["model_id", "prompt"]);

/** Groups that params fall into by themselves, in the order of the page. */
const GROUPS = [["reload", "Loads the pipeline again"], ["json", "Structures, as JSON"]];
/** A group of more is folded away at first. */
const MOST_OPEN = 4;
/** Words that are written otherwise than they are spelled in names. */
const SPELLINGS = { id: "ID", url: "URL", vae: "VAE", cfg: "CFG", ip: "IP", lora: "LoRA", lcm: "LCM" };

export class Form {
  /** `onChange(name, value)` is called for every edit that makes a value. */
  constructor(element, onChange) {
    this.element = element;
    this.onChange = onChange;
    this.params = new Map();
  }

  /** Builds the controls of a schema, and fills them with its defaults. */
  show(schema) {
    this.params.clear();
    this.element.replaceChildren();
    const groups = new Map();
    for (const [name, title] of GROUPS) groups.set(name, makeGroup(title));
    for (const [name, raw] of Object.entries(schema.properties ?? {})) {
      if (ELSEWHERE.has(name)) continue;
      const property = resolve(raw, schema);
      if (property["x-ui"]?.hidden) continue;
      const group = property["x-ui"]?.group ?? groupOf(property);
      if (group && !groups.has(group)) groups.set(group, makeGroup(group));
      const body = group ? groups.get(group).lastChild : this.element;
      body.append(this.#addParam(name, property));
    }
    const last = GROUPS.map(([name]) => groups.get(name));
    for (const group of new Set([...groups.values()].filter((group) => !last.includes(group)).concat(last))) {
      const size = group.lastChild.childElementCount;
      group.open = size <= MOST_OPEN && group !== groups.get("json");
      if (size > 0) this.element.append(group);
    }
    return this.params.size;
  }

  /** Shows what the server says, without touching what is being typed in. */
  write(values) {
    for (const [name, param] of this.params) {
      if (!(name in values) || document.activeElement === param.control.element) continue;
      param.control.write(values[name]);
      param.refresh();
    }
  }

  /** Sets values as if they were typed in, where the pipeline has such params. */
  set(values) {
    for (const [name, value] of Object.entries(values)) {
      const param = this.params.get(name);
      if (!param) continue;
      param.control.write(value);
      param.isChanged = true;
      param.refresh();
    }
  }

  /** What was changed from the schema's defaults, for a new stream. */
  changed() {
    const values = {};
    for (const [name, param] of this.params) if (param.isChanged) values[name] = param.control.read();
    return values;
  }

  /** Marks the fields that the server refused; answers what belongs to none of them. */
  mark(fields) {
    for (const param of this.params.values()) param.complain("");
    return fields.filter(({ pointer, message }) => {
      const param = this.params.get(pointer.split("/")[1]);
      param?.complain(message);
      const group = param?.control.element.closest("details.group");
      if (group) group.open = true;
      return !param;
    });
  }

  #addParam(name, property) {
    const id = `param-${name}`;
    const made = control(property, id);
    const block = Object.assign(document.createElement("div"), { className: "param" });
    const head = Object.assign(document.createElement("div"), { className: "head" });
    const label = Object.assign(document.createElement("label"), { htmlFor: id, textContent: title(name, property) });
    const output = Object.assign(document.createElement("output"), { htmlFor: id });
    const problem = Object.assign(document.createElement("p"), { id: `${id}-problem`, className: "problem", hidden: true });
    made.element.setAttribute("aria-describedby", problem.id);
    const isCheck = kindOf(property) === "boolean";
    if (isCheck) { block.classList.add("check"); head.append(made.element); }
    head.append(label);
    if (made.hasRange) head.append(output);
    block.append(head);
    if (!isCheck) block.append(made.element);
    if (property.description) block.append(help(property.description));
    block.append(problem);
    block.classList.toggle("wide", Boolean(made.isWide));

    const param = {
      control: made,
      isChanged: false,
      refresh: () => { output.textContent = made.element.value; },
      complain: (message) => {
        problem.hidden = !message;
        problem.textContent = message;
        made.element.setAttribute("aria-invalid", String(Boolean(message)));
      },
    };
    made.write(property.default);
    param.refresh();
    made.element.addEventListener(made.event, () => this.#edited(name, param));
    this.params.set(name, param);
    return block;
  }

  #edited(name, param) {
    param.refresh();
    try {
      const value = param.control.read();
      param.complain("");
      param.isChanged = true;
      this.onChange(name, value);
    } catch (error) {
      param.complain(error.message);
    }
  }
}

/** What takes a moment, and what takes some knowledge, comes after what one plays with. */
function groupOf(property) {
  if (kindOf(property) === "json") return "json";
  return property["x-apply"] === "hot" ? "" : "reload";
}

function makeGroup(title) {
  const group = Object.assign(document.createElement("details"), { className: "group" });
  const body = Object.assign(document.createElement("div"), { className: "params" });
  group.append(Object.assign(document.createElement("summary"), { textContent: title }), body);
  return group;
}

function title(name, property) {
  const unit = property["x-unit"];
  const label = property.title ?? property["x-ui"]?.label;
  const words = label ?? name.split("_").map((word) => SPELLINGS[word] ?? word).join(" ");
  return words[0].toUpperCase() + words.slice(1) + (unit && !words.includes(unit) ? ` (${unit})` : "");
}

function help(text) {
  return Object.assign(document.createElement("p"), { className: "help", textContent: text });
}
