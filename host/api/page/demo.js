// The model that comes with the server: how it is asked for, and the styles it knows, as buttons.

export const PIPELINE = "streamdiffusion-sd15";
/** What the model was made for, and none of what it has no use for. */
export const PARAMS = {
  model_id: "demo", t_index_list: [32], width: 512, height: 512, use_lcm_lora: false, acceleration: "none",
};
/** Words that it was trained with, one for each style. */
export const STYLES = [
  "pencil sketch", "neon cyberpunk", "oil painting", "watercolour", "comic with halftone dots", "blueprint",
  "thermal camera", "mosaic", "night vision", "sepia photograph", "woodcut", "pastel",
];

/** A button for each style; `onChoose(style)` is called for the one that is pressed. */
export function addStyles(element, onChoose) {
  const buttons = STYLES.map((style) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: style });
    button.addEventListener("click", () => onChoose(style));
    return button;
  });
  element.replaceChildren(...buttons);
}

/** Shows which style the prompt is, if it is one and nothing else. */
export function markStyle(element, prompt) {
  for (const button of element.children) button.setAttribute("aria-pressed", String(button.textContent === prompt.trim()));
}
