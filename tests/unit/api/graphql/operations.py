"""The operations of the reference web interface, written after its contract (ui A.13), and how to ask."""

from typing import Any

from tests.unit.api.harness import InProcess

SPAN = """
fragment Details on RunTraceSpan {
  name status attempts queuedAt scheduledAt startedAt endedAt duration isRoot isUserland
  userlandSpan { spanName spanKind serviceName scopeName scopeVersion spanAttrs resourceAttrs }
  outputID stepID stepOp stepType spanID parentSpanID traceID runID groupID
  debugRunID debugSessionID debugPaused
  metadata { scope kind values updatedAt }
  response { statusCode headers }
  stepInfo {
    __typename
    ... on InvokeStepInfo { triggeringEventID functionID timeout returnEventID runID timedOut }
    ... on SleepStepInfo { sleepUntil }
    ... on WaitForEventStepInfo { eventName expression timeout foundEventID timedOut }
    ... on RunStepInfo { type }
    ... on WaitForSignalStepInfo { signal timeout timedOut }
  }
}
fragment Tree on RunTraceSpan {
  ...Details
  childrenSpans { ...Details childrenSpans { ...Details
    childrenSpans { ...Details childrenSpans { ...Details } } } }
}
"""
APP = """
  id name appVersion sdkLanguage sdkVersion framework url error connected functionCount autodiscovered method
  sdkFeatureReadiness { aiMetadataExtraction { ready reason } extendedTraces { ready reason } }
"""
DEFER = "hashedDeferID userlandDeferID fnSlug status function { name slug } runID run { id status }"

OPERATIONS = {
    "GetRuns": """
query GetRuns($appIDs: [UUID!], $startTime: Time!, $status: [FunctionRunStatus!],
  $timeField: RunsV2OrderByField!, $functionRunCursor: String, $celQuery: String, $preview: Boolean,
  $isDeferred: Boolean) {
  runs(
    filter: {appIDs: $appIDs, from: $startTime, status: $status, timeField: $timeField, query: $celQuery,
      isDeferred: $isDeferred}
    orderBy: [{field: $timeField, direction: DESC}]
    after: $functionRunCursor
    preview: $preview
  ) {
    edges { node {
      app { externalID name } cronSchedule eventName function { name slug } id isBatch
      queuedAt endedAt startedAt status hasAI isDeferred deferredFrom { runID function { name slug } }
    } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}""",
    "CountRuns": """
query CountRuns($startTime: Time!, $status: [FunctionRunStatus!], $timeField: RunsV2OrderByField!,
  $preview: Boolean, $isDeferred: Boolean) {
  runs(
    filter: {from: $startTime, status: $status, timeField: $timeField, isDeferred: $isDeferred}
    orderBy: [{field: $timeField, direction: DESC}]
    preview: $preview
  ) { totalCount(preview: $preview) }
}""",
    "GetRun": SPAN
    + """
query GetRun($runID: String!, $preview: Boolean) {
  run(runID: $runID) {
    function { app { name method } id name slug } status trace(preview: $preview) { ...Tree } hasAI
  }
}""",
    "GetRunLinkage": "query GetRunLinkage($runID: String!) { run(runID: $runID) {"
    f" defers {{ {DEFER} }} siblingDefers {{ {DEFER} }}"
    " deferredFrom { runID function { name slug } run { id status } } } }",
    "GetRunTrace": SPAN + "query GetRunTrace($runID: String!) { runTrace(runID: $runID) { ...Tree } }",
    "GetTraceResult": """
query GetTraceResult($traceID: String!) {
  runTraceSpanOutputByID(outputID: $traceID) { input data error { message name stack cause } }
}""",
    "GetTrigger": """
query GetTrigger($runID: String!) {
  runTrigger(runID: $runID) { IDs payloads timestamp eventName isBatch batchID cron }
}""",
    "GetEventsV2": """
query GetEventsV2($cursor: String, $startTime: Time!, $endTime: Time, $celQuery: String,
  $eventNames: [String!], $includeInternalEvents: Boolean! = false) {
  eventsV2(first: 50, after: $cursor, filter: {from: $startTime, until: $endTime, query: $celQuery,
    eventNames: $eventNames, includeInternalEvents: $includeInternalEvents}) {
    edges { node { name id receivedAt runs { status id startedAt endedAt function { name slug } } } }
    totalCount
    pageInfo { hasNextPage endCursor hasPreviousPage startCursor }
  }
}""",
    "GetEventV2": """
query GetEventV2($eventID: ULID!) {
  eventV2(id: $eventID) { name id receivedAt idempotencyKey occurredAt version source { name } }
}""",
    "GetEventV2Payload": "query GetEventV2Payload($eventID: ULID!) { eventV2(id: $eventID) { raw } }",
    "GetEventV2Runs": """
query GetEventV2Runs($eventID: ULID!) {
  eventV2(id: $eventID) { name runs {
    status id startedAt endedAt function { name slug } trace(preview: true) { skipReason skipExistingRunID }
  } }
}""",
    "GetEvent": """
query GetEvent($id: ID!) {
  event(query: {eventId: $id}) {
    id name createdAt status pendingRuns raw
    functionRuns {
      function { name } id status startedAt pendingSteps output waitingFor { expiryTime eventName expression }
    }
  }
}""",
    "GetFunctions": """
query GetFunctions { functions { id slug name triggers { type value } app { name method } url } }""",
    "GetFunction": """
query GetFunction($functionSlug: String!) {
  functionBySlug(query: {functionSlug: $functionSlug}) {
    name id slug concurrency config url failureHandler { slug } triggers { type value condition }
    app { name method }
    configuration {
      cancellations { event timeout condition } retries { value isDefault } priority
      eventsBatch { maxSize timeout key } concurrency { scope limit { value isPlanLimit } key }
      rateLimit { limit period key } debounce { period key } throttle { burst key limit period }
      singleton { key mode }
    }
  }
}""",
    "GetApps": f"query GetApps {{ apps {{ {APP} functions {{ name id concurrency config slug url }} }} }}",
    "GetApp": f"query GetApp($id: UUID!) {{ app(id: $id) {{ {APP}"
    " functions { name id concurrency config slug url triggers { type value } } } }",
    "GetWorkerConnections": """
query GetWorkerConnections($appID: UUID!, $startTime: Time, $status: [ConnectV1ConnectionStatus!],
  $timeField: ConnectV1WorkerConnectionsOrderByField!, $cursor: String = null,
  $orderBy: [ConnectV1WorkerConnectionsOrderBy!] = [], $first: Int!) {
  workerConnections(first: $first, filter: {appIDs: [$appID], from: $startTime, status: $status,
    timeField: $timeField}, orderBy: $orderBy, after: $cursor) {
    edges { node {
      id gatewayId instanceId workerIp maxWorkerConcurrency app { id }
      connectedAt lastHeartbeatAt disconnectedAt disconnectReason status groupHash
      sdkLang sdkVersion sdkPlatform syncId appVersion functionCount cpuCores memBytes os
    } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount
  }
}""",
    "CountWorkerConnections": """
query CountWorkerConnections($appID: UUID!, $startTime: Time, $status: [ConnectV1ConnectionStatus!]) {
  workerConnections(filter: {appIDs: [$appID], from: $startTime, status: $status, timeField: CONNECTED_AT},
    orderBy: [{field: CONNECTED_AT, direction: DESC}]) { totalCount }
}""",
    "CreateApp": "mutation CreateApp($input: CreateAppInput!) { createApp(input: $input) { url } }",
    "UpdateApp": "mutation UpdateApp($input: UpdateAppInput!) { updateApp(input: $input) { url id } }",
    "DeleteApp": "mutation DeleteApp($id: String!) { deleteApp(id: $id) }",
    "InvokeFunction": """
mutation InvokeFunction($functionSlug: String!, $data: Map, $meta: Map, $user: Map,
  $debugSessionID: ULID = null, $debugRunID: ULID = null) {
  invokeFunction(data: $data, functionSlug: $functionSlug, meta: $meta, user: $user,
    debugSessionID: $debugSessionID, debugRunID: $debugRunID)
}""",
    "CancelRun": "mutation CancelRun($runID: ULID!) { cancelRun(runID: $runID) { id } }",
    "Rerun": """
mutation Rerun($runID: ULID!, $debugRunID: ULID = null, $debugSessionID: ULID = null) {
  rerun(runID: $runID, debugRunID: $debugRunID, debugSessionID: $debugSessionID)
}""",
    "RerunFromStep": """
mutation RerunFromStep($runID: ULID!, $fromStep: RerunFromStepInput!, $debugRunID: ULID = null,
  $debugSessionID: ULID = null) {
  rerun(runID: $runID, fromStep: $fromStep, debugRunID: $debugRunID, debugSessionID: $debugSessionID)
}""",
    # The debugger of the reference server only makes up two ids; here it is not there at all.
    "GetDebugRun": """
query GetDebugRun($query: DebugRunQuery!) { debugRun(query: $query) { debugTraces { name } } }""",
    "GetDebugSession": """
query GetDebugSession($query: DebugSessionQuery!) { debugSession(query: $query) { debugRuns { status } } }""",
    "CreateDebugSession": """
mutation CreateDebugSession($input: CreateDebugSessionInput!) {
  createDebugSession(input: $input) { debugSessionID debugRunID }
}""",
}

EVER = "2000-01-01T00:00:00Z"
RUNS = {"startTime": EVER, "timeField": "QUEUED_AT"}


async def post(server: InProcess, document: str, **variables: Any) -> dict[str, Any]:
    """The whole answer, which has to be a 200."""
    answer = await server.post("/v0/gql", {"query": document, "variables": variables})
    assert answer.status == 200, answer.body
    assert answer.headers["cache-control"] == "no-store"
    return answer.json()


async def ask(server: InProcess, document: str, **variables: Any) -> dict[str, Any]:
    """The data of an answer without errors."""
    answer = await post(server, document, **variables)
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


async def do(server: InProcess, operation: str, **variables: Any) -> dict[str, Any]:
    """The data of one of the operations."""
    return await ask(server, OPERATIONS[operation], **variables)


async def refusal(server: InProcess, document: str, **variables: Any) -> dict[str, Any]:
    """The only error of an answer: its message, and what stands in its extensions."""
    [error] = (await post(server, document, **variables))["errors"]
    assert error["message"]
    return {**error["extensions"], "message": error["message"]}


async def code_of(server: InProcess, document: str, **variables: Any) -> str:
    return (await refusal(server, document, **variables))["code"]
