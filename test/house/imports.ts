import ts from 'typescript';

/** One module that a file asks for. */
export interface ImportSite {
  readonly specifier: string;
  /** From 1. */
  readonly line: number;
  /** Gone when the types are. */
  readonly typeOnly: boolean;
}

export function parse(file: string, text: string): ts.SourceFile {
  return ts.createSourceFile(file, text, ts.ScriptTarget.ES2022, true);
}

/** Every `import`, `export ... from`, `import()`, `import('...').Type` and `require()` of a file whose specifier is a literal. */
export function importsOf(source: ts.SourceFile): readonly ImportSite[] {
  const sites: ImportSite[] = [];
  const add = (specifier: ts.Node | undefined, typeOnly: boolean): void => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) return;
    sites.push({ specifier: specifier.text, line: source.getLineAndCharacterOfPosition(specifier.getStart()).line + 1, typeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier, isTypeImport(node.importClause));
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node)) add(ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined, true);
    else if (ts.isCallExpression(node) && (node.expression.kind === ts.SyntaxKind.ImportKeyword || isRequire(node.expression))) add(node.arguments[0], false);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return sites;
}

/** Lines of a file whose contents survive compilation: anything but types and imports of types. */
export function runtimeLinesOf(source: ts.SourceFile): readonly number[] {
  return source.statements
    .filter((statement) => {
      if (ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)) return false;
      if (ts.isImportDeclaration(statement)) return !isTypeImport(statement.importClause);
      return !(ts.isExportDeclaration(statement) && statement.isTypeOnly);
    })
    .map((statement) => source.getLineAndCharacterOfPosition(statement.getStart()).line + 1);
}

function isTypeImport(clause: ts.ImportClause | undefined): boolean {
  return clause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
}

function isRequire(expression: ts.Expression): boolean {
  return ts.isIdentifier(expression) && expression.text === 'require';
}
