// Parses KQL texts and binds them to table schemas with the language service of Azure Data Explorer's own editors.
// Usage: node bind.js FOLDER_OF_THE_PACKAGE; stdin {"tables": {table: {column: type}}, "texts": {name: text}},
// stdout {name: ["position: message", …]}, every warning and error.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const folder = process.argv[2];
require(path.join(folder, "bridge.min.js"));
require(path.join(folder, "Kusto.Language.Bridge.min.js"));
const { KustoCode, GlobalState, Symbols } = globalThis.Kusto.Language;

const { tables, texts } = JSON.parse(fs.readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, columns]) => {
  const listed = Object.entries(columns).map(([column, type]) => `${column}: ${type}`);
  return Symbols.TableSymbol.From(`(${listed.join(", ")})`).WithName(name);
});
const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", symbols));

const found = {};
for (const [name, text] of Object.entries(texts)) {
  const diagnostics = KustoCode.ParseAndAnalyze(text, globals).GetDiagnostics();
  found[name] = [];
  for (let i = 0; i < diagnostics.Count; i++) {
    const { Severity, Start, Message } = diagnostics.getItem(i);
    if (Severity === "Error" || Severity === "Warning") found[name].push(`${Start}: ${Message}`);
  }
}
process.stdout.write(JSON.stringify(found));
