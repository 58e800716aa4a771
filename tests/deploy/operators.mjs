// Checks the objects of the Prometheus operator in a file, one of JSON a line, against the operator's own definitions. Prints TAP
// lines.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const models = `${process.env.MODELS}/@kubernetes-models/prometheus-operator`;
for (const line of readFileSync(process.argv[2], "utf8").trim().split("\n")) {
  const { file, object } = JSON.parse(line);
  const what = `${file}: ${object.kind} ${object.metadata.name} fits the operator's definition`;
  try {
    const model = await import(pathToFileURL(`${models}/${object.apiVersion}/${object.kind}.js`));
    new model[object.kind](object).validate();
    console.log(`ok - ${what}`);
  } catch (error) {
    console.log(`not ok - ${what}   # ${error.message}`);
  }
}
