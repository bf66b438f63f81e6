// The token that the service may require, kept as long as the browser's tab.

export class Token {
  constructor(name) {
    this.name = name;
    this.value = null;
    try {
      this.value = sessionStorage.getItem(name);
    } catch {
      // a browser that blocks cookies blocks this too
    }
  }

  set(value) {
    this.value = value;
    try {
      sessionStorage.setItem(this.name, value);
    } catch {
      // the page asks for it again after a reload
    }
  }

  get headers() {
    return this.value ? { Authorization: `Bearer ${this.value}` } : {};
  }
}

export const token = new Token("token"); // to use the service
