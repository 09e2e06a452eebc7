// What the server of this page is asked. Addresses are relative: the page's own holds the key.

async function answer(response) {
  const body = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw new Error(body.error);
  return body;
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("`capfilt browse` does not answer: is it still running?");
  }
}

export async function get(what, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== "" && value != null);
  return answer(await reach(`api/${what}?${new URLSearchParams(given)}`));
}

export async function post(what, body) {
  const headers = { "Content-Type": "application/json" };
  return answer(await reach(`api/${what}`, { method: "POST", headers, body: JSON.stringify(body) }));
}

export const picture = (place, size) => `picture/${place}/${size}`;
