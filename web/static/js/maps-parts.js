// Elements, and numbers as pages write them.

export function make(tag, properties = {}, ...children) {
  const { dataset = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, dataset);
  element.append(...children);
  return element;
}

export const percent = (share) => (100 * share).toFixed(1).replace("-", "−");
export const points = (share) => (Math.abs(share) < 0.0005 ? "0.0" : `${share < 0 ? "−" : "+"}${(100 * Math.abs(share)).toFixed(1)}`);
export const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
