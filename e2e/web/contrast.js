// Returns the texts and lines of the page whose contrast to their background is too small.
(() => {
  const channels = (colour) => (colour.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const luminance = (c) => {
    const [r, g, b] = c.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((m, n) => n - m);
    return (x + 0.05) / (y + 0.05);
  };
  const ground = (e) => {
    for (let at = e; at; at = at.parentElement) {
      const c = channels(getComputedStyle(at).backgroundColor);
      if (c.length < 4 || c[3] === 1) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const problems = [];
  const check = (e, property, least) => {
    const found = ratio(channels(getComputedStyle(e)[property]).slice(0, 3), ground(e));
    if (found < least) problems.push(`${e.tagName} ${e.getAttribute('class')} "${e.textContent.slice(0, 30)}": ${found.toFixed(2)}`);
  };
  for (const e of document.querySelectorAll('body *')) {
    if (!e.checkVisibility()) continue;
    const isText = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.data.trim());
    if (isText) check(e, e.namespaceURI.endsWith('svg') ? 'fill' : 'color', 4.5);
    if (e.matches('path.line, .mark')) check(e, 'stroke', 3);
  }
  return problems;
})()
