// A colour for a label that has none of its own: hues a golden angle apart, by the name, so that it stays the same.

export function colorFor(name) {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
  return hsl(((hash % 997) * 0.381966) % 1, 0.72, 0.52);
}

function hsl(hue, saturation, lightness) {
  const channel = (shift) => {
    const k = (shift + hue * 12) % 12;
    const value = lightness - saturation * Math.min(lightness, 1 - lightness) * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(value * 255).toString(16).padStart(2, "0");
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}
