// Lets Node load wukongimjssdk as it is published: ES modules for bundlers, without "type": "module"
// and with imports that name no file ending. Nothing of the SDK is changed.
const SDK = "/node_modules/wukongimjssdk/";

export function resolve(specifier, context, next) {
  if (context.parentURL?.includes(SDK) && specifier.startsWith(".")) {
    const file = specifier === "." ? "./index.js" : `${specifier}.js`;
    return next(file, context);
  }
  return next(specifier, context);
}

export function load(url, context, next) {
  return next(url, url.includes(SDK) ? { ...context, format: "module" } : context);
}
