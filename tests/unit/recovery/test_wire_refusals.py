"""Refusals of real servers, gateways and networks, one row each: sorted by what the failure is, not by who says it.

Read in public reports after the rows of test_wire_words.py had been written; a pattern has to catch what it was not
written for.
"""

# ruff: noqa: E501  (a table is read by its lines)

from __future__ import annotations

from typing import Any, Final

import pytest

from backend.recovery.advice import explain
from tests.unit.recovery.test_wire_words import HOSTED, LOCAL, MINIMAX, ZHIPU, said, told

SILICONFLOW: Final = "https://api.siliconflow.cn/v1"

REFUSALS: Final[list[tuple[str, int, Any, str]]] = [
    ("overloaded", 503, {'message': 'ResourceExhausted: All workers are busy, please retry later', 'type': 'Service Unavailable', 'code': 503}, HOSTED),
    ("overloaded", 429, {'message': "We're experiencing high traffic right now! Please try again soon.", 'type': 'too_many_requests_error', 'param': 'queue', 'code': 'queue_exceeded'}, HOSTED),
    ("overloaded", 502, {'result': None, 'success': False, 'errors': [{'code': 7009, 'message': 'Upstream service unavailable'}], 'messages': []}, HOSTED),
    ("overloaded", 429, {'errors': [{'message': 'AiError: No more data centers to forward the request to', 'code': 3040}], 'success': False}, 'https://api.cloudflare.com/client/v4/accounts/a/ai/v1'),
    ("overloaded", 429, said('The service is currently unable to handle additional requests due to server overload. Request ID: 0', 'ServerOverloaded', 'TooManyRequests'), HOSTED),
    ("overloaded", 503, said('<503> InternalError.Algo: Too many requests. Your requests are being throttled due to system capacity limits. Please try again later.', 'ServiceUnavailable', 'ServiceUnavailable'), HOSTED),
    ("overloaded", 503, {'detail': {'msg': 'Server is busy; please try again later.', 'type': 'service_unavailable'}}, LOCAL),
    ("overloaded", 503, {'object': 'error', 'message': 'The request queue is full.', 'type': 'ServiceUnavailable', 'param': None, 'code': 503}, LOCAL),
    ("overloaded", 429, {'error': 'Model is overloaded', 'error_type': 'overloaded'}, LOCAL),
    ("overloaded", 503, {'error': 'Model too busy, unable to get response in less than 60 second(s)'}, HOSTED),
    ("overloaded", 503, said('Bedrock is unable to process your request.'), HOSTED),
    ("overloaded", 503, said('Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.', 'service_unavailable_error'), HOSTED),
    ("overloaded", 503, {'code': 50505, 'message': 'Model service overloaded. Please try again later.', 'data': None}, HOSTED),
    ("overloaded", 503, '<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>\n', HOSTED),
    ("overloaded", 503, 'upstream connect error or disconnect/reset before headers. reset reason: connection failure', HOSTED),
    ("overloaded", 503, {'message': 'failure to get a peer from the ring-balancer'}, HOSTED),
    ("overloaded", 503, '<!DOCTYPE html><html><head><title>Application Error</title></head><body><iframe src="//www.herokucdn.com/error-pages/application-error.html"></iframe></body></html>', HOSTED),
    ("overloaded", 503, said('server busy, please try again.  maximum pending requests exceeded', None, 'api_error'), LOCAL),
    ("overloaded", 429, {'status': 'failure', 'message': 'Invalid response received from deepinfra: {"error":{"message":"Model busy, retry later"}}', 'error': {'message': 'Invalid response received from deepinfra: {"error":{"message":"Model busy, retry later"}}', 'type': 'APIError', 'code': '429'}, 'error_origin_level': 'api_error', 'provider': 'deepinfra'}, HOSTED),
    ("overloaded", 503, said('The requested model is temporarily unavailable due to upstream capacity limits. Please try again in a moment.'), HOSTED),
    ("overloaded", 429, said('Selected model is at capacity. Please try a different model.'), HOSTED),
    ("overloaded", 500, {'code': 'ModelFactory.ModelController.Model.Error', 'description': '{"code":50508,"message":"System is too busy now. Please try again later.","data":null}', 'detail': '{"code":50508,"message":"System is too busy now. Please try again later.","data":null}', 'solution': 'x'}, HOSTED),
    ("overloaded", 503, said('That model is currently overloaded with other requests. You can retry your request', None, 'server_error'), HOSTED),
    ("overloaded", 500, {'type': 'error', 'error': {'type': 'api_error', 'message': 'Overloaded'}}, HOSTED),
    ("overloaded", 503, "<!DOCTYPE html><html><head><title>Service Unavailable</title></head><body><h2>Our services aren't available right now</h2><p>We're working to restore all services as soon as possible. Please check back soon.</p>0abc</body></html>", HOSTED),
    ("overloaded", 503, {'message': 'Service Unavailable', 'hint': 'no available workers'}, HOSTED),
    ("overloaded", 503, said('服务器繁忙，请稍后再试'), HOSTED),
    ("overloaded", 529, said('site overloaded'), HOSTED),
    ("overloaded", 503, {'error': 'Queue depth exceeded; back off'}, HOSTED),
    ("overloaded", 500, said('No GPU is free at the moment'), HOSTED),
    ("overloaded", 503, said('Upstream is saturated, shed load'), HOSTED),
    ("overloaded", 429, said('The model is experiencing high load right now'), HOSTED),
    ("overloaded", 500, said('no slot available'), LOCAL),
    ("overloaded", 503, said('Model x is temporarily disabled due to high error rates'), HOSTED),
    ("overloaded", 503, said('Service temporarily unavailable, model under maintenance'), HOSTED),
    ("rate_limited", 502, said('Upstream error from Nvidia: ResourceExhausted: Worker local total request limit reached (33/32)', 502), HOSTED),
    ("rate_limited", 429, {'status': 429, 'title': 'Too Many Requests'}, HOSTED),
    ("rate_limited", 503, said('[nvidia/m3] Request dropped after exceeding the local rate-limit queue budget maxWaitMs (15000ms) for nvidia/m3. (cause: This job timed out after 15000 ms.) (reset after 3s)'), HOSTED),
    ("rate_limited", 429, {'error': {'code': 'RateLimitReached', 'message': 'Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 42345 seconds before retrying.', 'details': 'Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 42345 seconds before retrying.'}}, HOSTED),
    ("rate_limited", 429, said("Sorry, you've hit a rate limit that restricts the number of model requests you can make within a specific time period. Please try again in 58 hours. Please review our Terms of Service"), HOSTED),
    ("rate_limited", 429, said("You've hit your rate limit. Please wait for your limit to reset in 3 hours 49 minutes or switch to auto model to continue."), HOSTED),
    ("rate_limited", 429, {'message': 'Tokens per minute limit exceeded - too many tokens processed.', 'type': 'too_many_tokens_error', 'param': 'quota', 'code': 'token_quota_exceeded'}, HOSTED),
    ("rate_limited", 429, said("Request didn't generate first token before the given deadline"), HOSTED),
    ("rate_limited", 503, said('Token error: All accounts are currently limited. Please wait 84152s.'), HOSTED),
    ("rate_limited", 429, said('Rate limit reached for TPM', 'tpm_rate_limit_exceeded', 'rate_limit_exceeded'), HOSTED),
    ("rate_limited", 429, 'error code: 1015', HOSTED),
    ("rate_limited", 429, said('The request failed because the Tokens Per Minute (TPM) limit of the associated endpoint ep-1 for your account has been exceeded. Request ID: 0', 'RateLimitExceeded.EndpointTPMExceeded', 'TooManyRequests'), HOSTED),
    ("rate_limited", 429, said('Request rate increased too quickly. To ensure system stability, please adjust your client logic to scale requests more smoothly over time.', 'limit_burst_rate', 'limit_burst_rate'), HOSTED),
    ("rate_limited", 429, {'error_code': 'ModelArts.81101', 'error_msg': 'Too many requests, exceeded rate limit is 30 times per minute.'}, HOSTED),
    ("rate_limited", 429, said('You exceeded your current threshold of concurrent requests'), HOSTED),
    ("rate_limited", 429, said('Concurrency limit reached for requests'), HOSTED),
    ("rate_limited", 429, said('Too many requests, please wait before trying again. You have sent too many requests.'), HOSTED),
    ("rate_limited", 429, [{'error': {'code': 429, 'message': 'Online prediction request quota exceeded for anthropic-claude. Please try again later with backoff.', 'status': 'RESOURCE_EXHAUSTED'}}], HOSTED),
    ("rate_limited", 429, [{'error': {'code': 429, 'message': 'Resource exhausted. Please try again later. Please refer to https://cloud.google.com/vertex-ai/generative-ai/docs/error-code-429 for more details.', 'status': 'RESOURCE_EXHAUSTED'}}], HOSTED),
    ("rate_limited", 429, [{'error': {'code': 429, 'message': 'Quota exceeded for aiplatform.googleapis.com/online_prediction_requests_per_base_model with base model: x. Please submit a quota increase request.', 'status': 'RESOURCE_EXHAUSTED'}}], HOSTED),
    ("rate_limited", 429, {'error': {'message': 'You have reached the rate limit specific to this model acme/x. The maximum rate limit for this model is 0.6 queries per minute. This limit differs from the general rate limits published in the rate limits documentation. For inquiries about increasing your model-specific rate limit, please contact our sales team', 'type': 'model_rate_limit', 'param': None, 'code': None}}, HOSTED),
    ("rate_limited", 429, said('Your account org-123<ak-f4abcdefgh1234> request reached organization max RPM: 3, please try again after 1 seconds', None, 'rate_limit_reached_error'), HOSTED),
    ("rate_limited", 429, {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': 'usage limit exceeded, 5-hour usage limit reached for Token Plan Plus (1500/1500 used), resets at 2026-01-01T05:00:00Z (2056)', 'http_code': '429'}, 'request_id': 'x'}, MINIMAX),
    ("rate_limited", 429, {'message': 'Request was rejected due to rate limiting. If you want more, please contact contact@siliconflow.cn. Details:TPM limit reached.', 'data': None}, HOSTED),
    ("rate_limited", 429, {'error': {'message': "litellm.RateLimitError: No deployments available for selected model, Try again in 5 seconds. Passed model=gpt-x. pre-call-checks=False, cooldown_list=['abc']", 'type': 'None', 'param': 'None', 'code': '429'}}, LOCAL),
    ("rate_limited", 429, {'error': {'message': 'Rate limit exceeded for api_key: 88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b. Limit type: tokens. Current limit: 100, Remaining: 0. Limit resets at: 2026-01-01 00:00:40 UTC', 'type': 'None', 'param': 'None', 'code': '429'}}, LOCAL),
    ("rate_limited", 429, {'statusCode': 429, 'message': 'Rate limit is exceeded. Try again in 12 seconds.'}, HOSTED),
    ("rate_limited", 429, {'message': 'Limit Exceeded'}, HOSTED),
    ("rate_limited", 429, {'error_code': 'REQUEST_LIMIT_EXCEEDED', 'message': 'REQUEST_LIMIT_EXCEEDED: Exceeded workspace QPS rate limit for databricks-x. Please use a provisioned throughput endpoint for a higher rate limit.'}, HOSTED),
    ("rate_limited", 200, {'status': '449', 'msg': 'You exceeded your current rate limit', 'body': None}, HOSTED),
    ("rate_limited", 429, said('Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-06-01 have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 26 seconds.', '429'), HOSTED),
    ("rate_limited", 429, {'detail': 'Rate limit exceeded: 20 per 1 minute'}, HOSTED),
    ("rate_limited", 429, said('Number of concurrent connections has exceeded your rate limit. Please try again later or contact sales', None, 'rate_limit_error'), HOSTED),
    ("rate_limited", 429, {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': "This request would exceed your organization's rate limit of 30,000 input tokens per minute (org: x, model: y). For details, refer to the docs. You can see the response headers for current usage."}}, HOSTED),
    ("rate_limited", 429, said('您的请求速率过快，请稍后再试'), HOSTED),
    ("rate_limited", 429, said('每分钟请求次数超过限制'), HOSTED),
    ("rate_limited", 503, {'error': {'message': 'rate_limit_exceeded: 8 RPS'}, 'retry_after': 4}, HOSTED),
    ("rate_limited", 429, {'error': {'message': 'Slow down', 'reset_in': '2m30s'}}, HOSTED),
    ("rate_limited", 429, said('Try again at 2026-01-01T00:03:00+00:00'), HOSTED),
    ("rate_limited", 429, said('Requests will be accepted again in 90 sec'), HOSTED),
    ("rate_limited", 429, said('Max parallel requests reached (4)'), HOSTED),
    ("rate_limited", 429, said('QPS exceeded'), HOSTED),
    ("rate_limited", 403, said('You have exceeded a secondary rate limit. Please wait a few minutes before you try again.'), HOSTED),
    ("rate_limited", 420, {'message': 'Enhance your calm'}, HOSTED),
    ("rate_limited", 400, said('too many concurrent generations'), HOSTED),
    ("rate_limited", 429, 'Rate limited. Retry in 8s', HOSTED),
    ("rate_limited", 429, said('Your requests are being rate limited. The limit is per user.'), HOSTED),
    ("rate_limited", 429, said('You are sending requests too quickly. Remaining credits: 54.'), HOSTED),
    ("rate_limited", 429, said('Limit: 3 requests / min. Upgrade your plan or add a payment method to raise it. Try again in 20s.'), HOSTED),
    ("rate_limited", 429, said('Rate limit reached for gpt-x in organization org-1 on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s. Visit the page to add a payment method.'), HOSTED),
    ("bad_request", 400, {'error': "Cannot read properties of null (reading 'type')"}, LOCAL),
    ("bad_request", 500, said('Engine protocol predict request returned 500: {"error":{"code":500,"message":"\\n------------\\nWhile executing CallExpression at line 46, column 32 in source:\\n...== 0) %}↵            {{- raise_exception(\'After the optional system message, con...\\n                                           ^\\nError: Jinja Exception: After the optional system message, conversation roles must alternate user and assistant","type":"server_error"}}'), LOCAL),
    ("bad_request", 400, said('Invalid request: tokenization failed', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said("Invalid request: tools.function.parameters is not a valid moonshot flavored json schema, details: <At path 'properties.source': type is not defined>", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said("Invalid request: the message at position 72 with role 'assistant' must not be empty", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, {'code': 'Client specified an invalid argument', 'error': 'Argument not supported on this model: reasoningEffort'}, HOSTED),
    ("bad_request", 400, {'code': 'Client specified an invalid argument', 'error': 'The model expects a single `text` element per message.'}, HOSTED),
    ("bad_request", 400, {'errors': [{'message': "AiError: Bad input: Error: oneOf at '/' not met, 0 matches: required properties at '/' are 'prompt', Type mismatch of '/messages/1/content', 'array' not in 'string'", 'code': 5006}], 'success': False}, HOSTED),
    ("bad_request", 400, said('parameter.enable_thinking must be set to false for non-streaming calls', 'invalid_parameter_error', 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('<400> InternalError.Algo.InvalidParameter: An assistant message with "tool_calls" must be followed by tool messages responding to each "tool_call_id". The following tool_call_ids did not have response messages: message[8].role', 'invalid_parameter_error', 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('Failed to initialize samplers: failed to parse grammar', 400, 'invalid_request_error'), LOCAL),
    ("bad_request", 400, said('Error: no triggers set for lazy grammar!', 400, 'invalid_request_error'), LOCAL),
    ("bad_request", 400, {'object': 'error', 'message': 'As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat template if the tokenizer does not define one.', 'type': 'BadRequestError', 'param': None, 'code': 400}, LOCAL),
    ("bad_request", 400, {'object': 'error', 'message': 'Extra data: line 1 column 12 (char 11)', 'type': 'BadRequestError', 'param': None, 'code': 400}, LOCAL),
    ("bad_request", 422, {'error': 'Template error: undefined value (in <string>:1)', 'error_type': 'template_error'}, LOCAL),
    ("bad_request", 400, said("Invocation of model ID anthropic.claude-x with on-demand throughput isn't supported. Retry your request with the ID or ARN of an inference profile that contains this model."), HOSTED),
    ("bad_request", 400, said('A conversation must start with a user message. Try again with a conversation that starts with a user message.'), HOSTED),
    ("bad_request", 400, said('Expected toolResult blocks at messages.2.content for the following Ids: tooluse_x'), HOSTED),
    ("bad_request", 400, [{'error': {'code': 400, 'message': 'Request contains an invalid argument.', 'status': 'INVALID_ARGUMENT'}}], HOSTED),
    ("bad_request", 400, [{'error': {'code': 400, 'message': 'Please ensure that function call turn comes immediately after a user turn or after a function response turn.', 'status': 'INVALID_ARGUMENT'}}], HOSTED),
    ("bad_request", 400, [{'error': {'code': 400, 'message': 'Multiple authentication credentials received. Please pass only one.', 'status': 'INVALID_ARGUMENT'}}], HOSTED),
    ("bad_request", 400, said("'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning' is unsupported, did you mean 'role'?)]", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 422, {'object': 'error', 'message': {'detail': [{'type': 'extra_forbidden', 'loc': ['body', 'messages', 2, 'assistant', 'reasoning_content'], 'msg': 'Extra inputs are not permitted', 'input': 'SECRET PROMPT'}]}, 'type': 'invalid_request_error', 'param': None, 'code': None}, HOSTED),
    ("bad_request", 400, {'object': 'error', 'message': 'Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant', 'type': 'invalid_request_error', 'param': None, 'code': '3230'}, HOSTED),
    ("bad_request", 400, {'object': 'error', 'message': 'Function name was  but must be a-z, A-Z, 0-9, or contain underscores and dashes, with a maximum length of 64.', 'type': 'invalid_function_call', 'param': None, 'code': '3280'}, HOSTED),
    ("bad_request", 400, {'object': 'error', 'message': 'Tool call id was call_00_abc but must be a-z, A-Z, 0-9, with a length of 9.', 'type': 'invalid_function_call', 'code': '3280'}, HOSTED),
    ("bad_request", 422, said('Failed to deserialize the JSON body into the target type: messages[1]: missing field `content` at line 1 column 100', 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('API 调用参数有误，请检查文档。', '1210'), ZHIPU),
    ("bad_request", 400, {'code': 20015, 'message': 'The parameter is invalid. Please check again.', 'data': None}, HOSTED),
    ("bad_request", 400, {'object': 'error', 'message': 'max_tokens=999999 cannot be greater than max_model_len=4096. Please request fewer output tokens.', 'type': 'BadRequestError', 'param': 'max_tokens', 'code': 400}, LOCAL),
    ("bad_request", 400, said('"granite" does not support thinking', None, 'api_error'), LOCAL),
    ("bad_request", 400, said("Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.", 'unsupported_value'), HOSTED),
    ("bad_request", 400, said('The chatCompletion operation does not work with the specified model, codex-x. Please choose different model and try again.', 'OperationNotSupported'), HOSTED),
    ("bad_request", 400, {'type': 'error', 'error': {'type': 'invalid_request_error', 'message': 'messages: text content blocks must be non-empty'}}, HOSTED),
    ("bad_request", 400, {'type': 'error', 'error': {'type': 'invalid_request_error', 'message': 'messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_01'}}, HOSTED),
    ("bad_request", 400, said('参数 messages 格式错误'), HOSTED),
    ("bad_request", 415, {'detail': 'Unsupported media type "text/plain" in request.'}, HOSTED),
    ("bad_request", 422, {'detail': [{'type': 'string_too_long', 'loc': ['body', 'messages', 0, 'content'], 'msg': 'String should have at most 20000 characters', 'input': 'SECRET'}]}, HOSTED),
    ("bad_request", 422, {'detail': [{'type': 'missing', 'loc': ['body', 'model'], 'msg': 'Field required'}]}, HOSTED),
    ("bad_request", 422, {'errors': {'temperature': ['must be less than or equal to 1']}}, HOSTED),
    ("bad_request", 400, {'message': 'Validation failed', 'details': [{'field': 'top_k', 'issue': 'is not allowed'}]}, HOSTED),
    ("bad_request", 400, {'error': {'message': 'Provider returned error', 'code': 400, 'metadata': {'raw': 'ERROR', 'provider_name': 'p'}}}, HOSTED),
    ("bad_request", 400, said('The model does not support the parameter seed', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('This model does not support parallel tool calls', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('model m does not support logprobs', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('temperature is not supported with reasoning models', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('Requested max output tokens 64000 exceeds 8192', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('max completion tokens exceeds 16384', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('stream_options is not allowed', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said("The 'user' field must be a string", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('response_format json_schema is not available for this model', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('You must provide messages', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('Invalid role: developer', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('Developer instruction is not enabled for this model', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('System role not supported', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('messages[0].role must be one of user, assistant', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('Tool names must be unique.', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('tools[3].function.description too long', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said("Duplicate value for 'tool_call_id'", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('No tool call found for function call output with call_id x', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('The last message must have role user', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('Assistant response prefix is incompatible with enable_thinking.', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said("tool_choice 'required' is not supported in thinking mode", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said("Invalid schema for function 'x': array schema missing items", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said("'minLength' is not permitted in schema", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('JSON parse error: Unexpected token', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said("Expecting ',' delimiter: line 1 column 5", None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('user prompt must not be empty', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('presence_penalty out of range', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('n > 1 is not supported', None, 'invalid_request_error'), HOSTED),
    ("bad_request", 400, said('Only one system message allowed at the beginning', None, 'invalid_request_error'), HOSTED),
    ("auth", 401, {'statusCode': 401, 'message': 'Unauthorized. Access token is missing, invalid, audience is incorrect (https://cognitiveservices.azure.com), or have expired.'}, HOSTED),
    ("auth", 400, {'code': 'Client specified an invalid argument', 'error': 'Incorrect API key provided: na***ys. You can obtain an API key from https://console.x.ai.'}, HOSTED),
    ("auth", 401, "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>openresty/1.27.4</center>\r\n<script>(function(){var a=document.createElement('script');a.src='/cdn-cgi/challenge-platform/scripts/jsd/main.js';})();</script></body>\r\n</html>", HOSTED),
    ("auth", 401, said('Missing Authentication header', 401), HOSTED),
    ("auth", 401, said('invalid access token or token expired'), HOSTED),
    ("auth", 200, {'error_code': 110, 'error_msg': 'Access token invalid or no longer valid'}, HOSTED),
    ("auth", 200, {'error_code': 110, 'error_msg': 'Access token invalid or no longer valid'}, HOSTED),
    ("auth", 200, {'error_code': 14, 'error_msg': 'IAM Certification failed'}, 'https://qianfan.baidubce.com/v2'),
    ("auth", 401, {'error': {'code': 'invalid_iam_token', 'message': 'IAM Certification failed', 'type': 'invalid_request_error'}, 'id': 'as-x'}, HOSTED),
    ("auth", 401, said('The API key or AK/SK in the request is missing or invalid. Request ID: 0', 'AuthenticationError', 'Unauthorized'), HOSTED),
    ("auth", 401, said('Invalid API Key', 401, 'authentication_error'), LOCAL),
    ("auth", 401, [{'error': {'code': 401, 'message': 'Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.', 'status': 'UNAUTHENTICATED'}}], HOSTED),
    ("auth", 403, [{'error': {'code': 403, 'message': "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API.", 'status': 'PERMISSION_DENIED'}}], HOSTED),
    ("auth", 401, said('Invalid Authentication', None, 'invalid_authentication_error'), HOSTED),
    ("auth", 401, '"Invalid token"', HOSTED),
    ("auth", 401, '"Api key is invalid"', HOSTED),
    ("auth", 200, {'error': {'message': 'AppIdNoAuthError:(auth check failed, appid no auth), sid: x', 'type': 'api_error', 'param': None, 'code': '11200'}}, HOSTED),
    ("auth", 401, said('该令牌状态不可用 (request id: 2026)', None, 'new_api_error'), HOSTED),
    ("auth", 401, {'error': {'message': "Authentication Error, LiteLLM Virtual Key expected. Received=sk-1****, expected to start with 'sk-'.", 'type': 'auth_error', 'param': 'None', 'code': '401'}}, LOCAL),
    ("auth", 401, {'message': 'No API key found in request'}, HOSTED),
    ("auth", 401, {'statusCode': 401, 'message': 'Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API.'}, HOSTED),
    ("auth", 403, {'message': 'Missing Authentication Token'}, HOSTED),
    ("auth", 401, {'error': 'unauthorized'}, HOSTED),
    ("auth", 403, {'error_code': '403', 'message': 'Invalid access token.'}, HOSTED),
    ("auth", 401, said('You must be a member of an organization to use the API. Please contact us through our help center', None, 'invalid_request_error'), HOSTED),
    ("auth", 401, said('No such organization: org-x.', 'invalid_organization', 'invalid_request_error'), HOSTED),
    ("auth", 401, said('Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.', '401'), HOSTED),
    ("auth", 401, {'type': 'error', 'error': {'type': 'authentication_error', 'message': 'This credential is only authorized for use with Claude Code and cannot be used for other API requests.'}}, HOSTED),
    ("auth", 401, said('令牌已过期或验证不正确', '1000'), ZHIPU),
    ("auth", 401, said('未提供令牌'), HOSTED),
    ("auth", 401, said('API Key 已被禁用'), HOSTED),
    ("auth", 401, said('Your API key has been revoked', None, 'authentication_error'), HOSTED),
    ("auth", 401, {'fault': {'faultstring': 'Invalid ApiKey', 'detail': {'errorcode': 'oauth.v2.InvalidApiKey'}}}, HOSTED),
    ("auth", 403, said("The API key doesn't exist.", 403), HOSTED),
    ("auth", 400, said('Authorization header is missing'), HOSTED),
    ("auth", 401, {'error': 'Key not found'}, HOSTED),
    ("auth", 401, {'msg': 'token invalid', 'code': 10401}, HOSTED),
    ("auth", 401, {'error': 'invalid_token', 'error_description': 'The access token expired'}, HOSTED),
    ("auth", 401, {'detail': 'Could not validate credentials'}, HOSTED),
    ("auth", 401, {'message': 'Signature verification failed'}, HOSTED),
    ("auth", 401, said('Your authentication token has been invalidated. Please try signing in again.'), HOSTED),
    ("auth", 401, {'detail': 'Provided authentication token is expired. Please try signing in again.'}, HOSTED),
    ("model_not_found", 400, {'error': {'code': 'unknown_model', 'message': 'Unknown model: DeepSeek-V4-Flash', 'details': 'Unknown model: DeepSeek-V4-Flash'}}, HOSTED),
    ("model_not_found", 404, said('The model `qwen-9` does not exist or you do not have access to it.', 'model_not_found', 'invalid_request_error'), HOSTED),
    ("model_not_found", 400, said("model 'qwen3-max' is not supported", 'invalid_parameter_error'), HOSTED),
    ("model_not_found", 410, said('The requested model has been deprecated and is no longer available.', 'model_deprecated', 'invalid_request_error'), HOSTED),
    ("model_not_found", 400, said('model is not loaded', 400, 'invalid_request_error'), LOCAL),
    ("model_not_found", 404, 'could not find real modelID for qwen9', LOCAL),
    ("model_not_found", 503, {'detail': 'No models are currently loaded.'}, LOCAL),
    ("model_not_found", 400, {'error': {'message': 'Invalid model identifier "x". Please specify a valid downloaded model (e.g. y).', 'type': 'invalid_request_error', 'param': 'model', 'code': 'model_not_found'}}, LOCAL),
    ("model_not_found", 404, said('This model version has reached the end of its life. Please refer to the documentation for more details.'), HOSTED),
    ("model_not_found", 404, [{'error': {'code': 404, 'message': 'Publisher Model `projects/p/locations/us/publishers/google/models/x` was not found or your project does not have access to it. Please ensure you are using a valid model version.', 'status': 'NOT_FOUND'}}], HOSTED),
    ("model_not_found", 404, {'error': {'object': 'error', 'type': 'invalid_request_error', 'code': 'NOT_FOUND', 'message': 'Model not found, inaccessible, and/or not deployed'}}, HOSTED),
    ("model_not_found", 400, {'type': 'error', 'error': {'type': 'bad_request_error', 'message': "invalid params, unknown model 'abab9' (2013)", 'http_code': '400'}}, MINIMAX),
    ("model_not_found", 404, {'error_code': 'ENDPOINT_NOT_FOUND', 'message': 'The given endpoint does not exist, please retry after checking the specified model and version deployment exists.'}, HOSTED),
    ("model_not_found", 400, {'status': '435', 'msg': 'Model not support', 'body': None}, HOSTED),
    ("model_not_found", 404, {'detail': "Model 'x' not found. Available models: ['a']"}, LOCAL),
    ("model_not_found", 400, said("The model 'x' is not served by this endpoint. Served: a, b", None, 'invalid_request_error'), LOCAL),
    ("model_not_found", 500, said('could not find model x in the model registry'), LOCAL),
    ("model_not_found", 404, said('This model is not available. You can list models with GET /models'), HOSTED),
    ("model_not_found", 400, {'error': {'message': '`gpt-99` is not a model we offer', 'type': 'invalid_request_error', 'param': 'model'}}, HOSTED),
    ("model_not_found", 404, {'code': 'not-found', 'error': 'The model grok-9 does not exist or your team 1f does not have access to it. If you believe this is a mistake, please reach out to support and quote your team ID and the model name.'}, HOSTED),
    ("model_not_found", 410, said('Model m was removed on 2026-01-01'), HOSTED),
    ("model_not_found", 400, said('Model id "x" is unrecognised'), HOSTED),
    ("model_not_found", 400, {'detail': "The 'gpt-x' model is not supported when using Codex with a ChatGPT account."}, HOSTED),
    ("quota", 403, {'code': 'The caller does not have permission to execute the specified operation', 'error': "Your newly created teams doesn't have any credits yet. You can purchase credits on https://console.x.ai/team/c85."}, HOSTED),
    ("quota", 429, {'code': 'Some resource has been exhausted', 'error': 'Your team 16f has either used all available credits or reached its monthly spending limit. To continue making API requests, please purchase more credits or raise your spending limit.'}, HOSTED),
    ("quota", 429, {'errors': [{'message': "AiError: You have used up your daily free allocation of 10,000 neurons. Please upgrade to Cloudflare's Workers Paid plan if you would like to continue usage.", 'code': 3036}], 'success': False}, HOSTED),
    ("quota", 412, {'status': 'failure', 'message': 'Budget exhausted for this virtual key'}, HOSTED),
    ("quota", 412, {'error': {'object': 'error', 'type': 'error', 'code': 'PRECONDITION_FAILED', 'message': 'Account acme-1 is suspended, possibly due to reaching the monthly spending limit or failure to pay past invoices. Please go to https://fireworks.ai/account/billing for more information'}}, HOSTED),
    ("quota", 403, said('The request failed because your account has an overdue balance. Request ID: 0', 'AccountOverdueError', 'Forbidden'), HOSTED),
    ("quota", 429, said('Your account [21] has reached the set inference limit for the [doubao] model, and the model service has been paused. To continue using this model, please visit the Model Activation page to adjust or close the "Safe Experience Mode". Request id: 0', 'SetLimitExceeded', 'TooManyRequests'), HOSTED),
    ("quota", 429, said('Your account 21 has exhausted its free trial quota for the doubao model. To prevent unexpected charges, the model service has been paused. Please pay for it in the console', 'QuotaExceeded', 'TooManyRequests'), HOSTED),
    ("quota", 401, {'error_code': 'ModelArts.81005', 'error_msg': 'The free quota has been used up.'}, HOSTED),
    ("quota", 402, said('Credit limit exceeded, please navigate to your billing page', None, 'credit_limit'), HOSTED),
    ("quota", 429, said('该 API 今日调用次数已达限额，如有更多请求需求，请联系客服', '1304'), ZHIPU),
    ("quota", 403, {'code': 30011, 'message': 'This model requires paid balance. Please recharge your account.', 'data': None}, HOSTED),
    ("quota", 403, said('[sk-zQM***Fpz] 该令牌额度已用尽 !token.UnlimitedQuota && token.RemainQuota = -100 (request id: 2026)', 'pre_consume_token_quota_failed', 'new_api_error'), HOSTED),
    ("quota", 403, said('预扣费额度失败, 用户剩余额度: ＄0.100000, 需要预扣费额度: ＄0.200000', 'insufficient_user_quota', 'new_api_error'), HOSTED),
    ("quota", 403, {'statusCode': 403, 'message': 'Out of call volume quota. Quota will be replenished in 05:23:11.'}, HOSTED),
    ("quota", 402, 'Payment required\n\nDEPLOYMENT_DISABLED\n\nfra1::abc\n', HOSTED),
    ("quota", 429, said('you (acme) have reached your weekly usage limit, upgrade for higher limits: https://ollama.com/upgrade', None, 'api_error'), HOSTED),
    ("quota", 403, said('AI Gateway requires a valid credit card on file to service requests. Please add a card to unlock your free credits.', 'customer_verification_required'), HOSTED),
    ("quota", 429, said("You've exceeded the rate limit, please slow down and try again after 57.6 seconds. Your account is not active, please check your billing details on our website.", 'billing_not_active'), HOSTED),
    ("quota", 402, {'error': 'Payment Required', 'message': 'Insufficient diem or VCU balance to complete request'}, HOSTED),
    ("quota", 403, said('Wallet balance is not enough, please recharge', None, 'NOT_ENOUGH_BALANCE'), HOSTED),
    ("quota", 429, said('You have consumed all of your free credits for this month', None, 'rate_limit'), HOSTED),
    ("quota", 400, said('inference is blocked: out of funds'), HOSTED),
    ("quota", 403, said('账户可用额度不足，请前往控制台充值'), HOSTED),
    ("quota", 429, said('您的免费额度已用完，请升级套餐'), HOSTED),
    ("quota", 402, said('Your card was declined'), HOSTED),
    ("quota", 403, said('The account balance is below zero'), HOSTED),
    ("quota", 403, said('Account in negative balance (-0.02 USD)'), HOSTED),
    ("quota", 429, said('Token quota for this month used up: 1000000/1000000'), HOSTED),
    ("quota", 429, said("You've used all your free messages. Upgrade to continue."), HOSTED),
    ("quota", 400, said('Prepaid credits depleted. Auto top-up is off.'), HOSTED),
    ("quota", 403, said('Spending cap reached for project'), HOSTED),
    ("quota", 429, [{'error': {'code': 429, 'message': 'Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.', 'status': 'RESOURCE_EXHAUSTED'}}], HOSTED),
    ("quota", 429, [{'error': {'code': 429, 'message': 'Your project has exceeded its monthly spending cap. Please go to AI Studio to manage your project spend cap.', 'status': 'RESOURCE_EXHAUSTED'}}], HOSTED),
    ("server_error", 502, {'error': {'code': 502, 'message': 'Bad gateway.', 'param': None, 'type': 'cf_bad_gateway'}}, HOSTED),
    ("server_error", 500, {'error': 'Incomplete generation', 'error_type': 'incomplete_generation'}, LOCAL),
    ("server_error", 424, {'error': 'Request failed during generation: Server error: transport error', 'error_type': 'generation'}, LOCAL),
    ("server_error", 424, {'message': 'The model returned the following errors: An internal server error occurred.', '__type': 'ModelErrorException'}, HOSTED),
    ("server_error", 500, [{'error': {'code': 500, 'message': 'An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting', 'status': 'INTERNAL'}}], HOSTED),
    ("server_error", 499, said('context canceled'), HOSTED),
    ("server_error", 500, said('网络错误，错误id：2026，请联系客服', '1234'), ZHIPU),
    ("server_error", 500, {'error': {'message': 'bad response status code 503 (request id: 2026)', 'type': 'upstream_error', 'param': '503', 'code': 'bad_response_status_code'}}, HOSTED),
    ("server_error", 502, 'Bad Gateway', HOSTED),
    ("server_error", 502, said("upstream error: unmarshal: invalid character 'I' looking for beginning of value", None, 'api_error'), LOCAL),
    ("server_error", 500, said('proxy error: Failed to read connection', 500, 'server_error'), LOCAL),
    ("server_error", 500, {'error': {'message': 'The server had an error processing your request. Sorry about that! You can retry your request, or contact us through our help center at help.openai.com if you keep seeing this error. (Please include the request ID req_x in your message.)', 'type': 'server_error', 'param': None, 'code': None}}, HOSTED),
    ("server_error", 500, {'statusCode': 500, 'message': 'Internal server error', 'activityId': 'x'}, HOSTED),
    ("server_error", 502, 'error code: 502', HOSTED),
    ("server_error", 500, said('系统内部错误，请稍后重试'), HOSTED),
    ("server_error", 409, {'detail': 'Request conflict, please retry'}, HOSTED),
    ("server_error", 425, {'error': 'Too Early: model warming'}, HOSTED),
    ("server_error", 500, said('litellm.APIConnectionError: OllamaException - Cannot connect to host localhost:11434 ssl:default [Connect call failed]'), HOSTED),
    ("server_error", 500, '<html><head><title>500 Internal Server Error</title></head></html>', HOSTED),
    ("server_error", 501, {'error': 'stream not implemented'}, HOSTED),
    ("server_error", 502, {'error': {'message': 'Provider returned error', 'code': 502, 'metadata': {'raw': '{"error":{"message":"boom"}}', 'provider_name': 'p'}}}, HOSTED),
    ("server_error", 500, said('An error occurred while loading the response'), HOSTED),
    ("server_error", 500, said('invalid memory address or nil pointer dereference'), HOSTED),
    ("server_error", 500, said("Unhandled exception: KeyError 'choices'"), HOSTED),
    ("server_error", 500, said('model output could not be decoded'), HOSTED),
    ("server_error", 500, said('failed to process request: account lookup failed'), HOSTED),
    ("server_error", 502, said('upstream sent invalid header while reading response header from upstream'), HOSTED),
    ("server_error", 500, said('database is locked'), HOSTED),
    ("not_found", 405, {'result': None, 'success': False, 'errors': [{'code': 7001, 'message': 'GET not supported for requested URI.'}], 'messages': []}, HOSTED),
    ("not_found", 404, '404 page not found\n', HOSTED),
    ("not_found", 404, {'message': 'no Route matched with those values'}, HOSTED),
    ("not_found", 404, said('Resource not found', '404'), HOSTED),
    ("not_found", 404, {'timestamp': '2026-01-01T00:00:00Z', 'status': 404, 'error': 'Not Found', 'path': '/v1/chat/completions'}, HOSTED),
    ("not_found", 404, {'message': 'Cannot POST /v1/chat/completions', 'error': 'Not Found', 'statusCode': 404}, HOSTED),
    ("not_activated", 403, {'errors': [{'message': 'AiError: Service unavailable for account', 'code': 3023}], 'success': False, 'result': {}, 'messages': []}, HOSTED),
    ("not_activated", 403, {'errors': [{'code': 5016, 'message': "AiError: Prior to using this model, you must submit the prompt 'agree'. By submitting 'agree', you agree to the Community License."}]}, 'https://api.cloudflare.com/client/v4/accounts/a/ai/v1'),
    ("not_activated", 400, said('The request targeted an endpoint that is currently closed or temporarily unavailable. Request ID: 0217', 'InvalidEndpoint.ClosedEndpoint', 'BadRequest'), HOSTED),
    ("not_activated", 403, said('Model access denied.', 'Model.AccessDenied', 'Model.AccessDenied'), HOSTED),
    ("not_activated", 403, {'code': 30003, 'message': 'Model disabled.', 'data': None}, HOSTED),
    ("not_activated", 403, {'code': 30004, 'message': 'To use this model, you need to complete real-name authentication first.', 'data': None}, HOSTED),
    ("not_activated", 403, {'error': {'message': "key not allowed to access model. This key can only access models=['gpt-a']. Tried to access gpt-b", 'type': 'key_model_access_denied', 'param': 'model', 'code': '403'}}, LOCAL),
    ("not_activated", 401, {'error': {'message': "key not allowed to access model. This key can only access models=['gpt-a']. Tried to access gpt-b", 'type': 'key_model_access_denied', 'param': 'model', 'code': '401'}}, LOCAL),
    ("not_activated", 403, said('this model requires a subscription, upgrade for access: https://ollama.com/upgrade', None, 'api_error'), HOSTED),
    ("not_activated", 403, {'error_code': 'PERMISSION_DENIED', 'message': 'PERMISSION_DENIED: The endpoint is temporarily disabled due to a Databricks-set rate limit of 0.'}, HOSTED),
    ("not_activated", 403, said('Your organization must be verified to stream this model. Please go to: https://platform.openai.com/settings/organization/general and click on Verify Organization. If you just verified, it can take up to 15 minutes for access to propagate.', 'unsupported_value'), HOSTED),
    ("not_activated", 400, said('Your organization must be verified to stream this model. Please go to the settings', 'unsupported_value'), HOSTED),
    ("not_activated", 400, {'error': 'Endpoint is paused, ask a maintainer to restart it'}, HOSTED),
    ("context_too_long", 413, {'errors': [{'code': 3006, 'message': 'Request is too large'}]}, HOSTED),
    ("context_too_long", 400, said('You exceeded maximum context window for this model'), HOSTED),
    ("context_too_long", 400, {'error': {'message': 'litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError: OpenAIException - Error code: 400. Received Model Group=x\nAvailable Model Group Fallbacks=None', 'type': None, 'param': None, 'code': '400'}}, LOCAL),
    ("context_too_long", 413, {'message': 'Request Too Long'}, HOSTED),
    ("context_too_long", 400, said("This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (3976 in the messages, 1024 in the completion). None", None, 'BadRequestError'), LOCAL),
    ("context_too_long", 400, {'error': {'object': 'error', 'message': 'Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens). Use a shorter input or enable --allow-auto-truncate.', 'type': 'BadRequestError', 'param': None, 'code': 400}}, LOCAL),
    ("context_too_long", 400, {'message': 'max tokens of 200000 exceeded', 'request_id': 'x'}, HOSTED),
    ("context_too_long", 400, {'type': 'error', 'error': {'type': 'invalid_request_error', 'message': 'messages.3.content: input is too long: 1,203,331 tokens'}}, HOSTED),
    ("context_too_long", 400, said('prompt 的 token 数（35000）超过模型上下文长度（32768）'), HOSTED),
    ("context_too_long", 422, {'detail': [{'type': 'value_error', 'loc': ['body', 'messages'], 'msg': 'Value error, total prompt length 40000 is greater than model limit 32768', 'input': 'SECRET'}]}, HOSTED),
    ("context_too_long", 400, said('Too much context: 140k tokens, window is 128k'), HOSTED),
    ("context_too_long", 400, said('Input exceeds 32k token window'), HOSTED),
    ("context_too_long", 400, said('prompt_len 5000 >= max_seq_len 4096'), LOCAL),
    ("context_too_long", 400, said('Your messages total 90123 tokens, more than the 65536 this model takes'), HOSTED),
    ("context_too_long", 413, said('Request exceeds the maximum size', None, 'request_too_large'), HOSTED),
    ("context_too_long", 400, said("Conversation exceeds the model's memory; please start a new chat"), HOSTED),
    ("context_too_long", 400, said('ids length exceeds max position embeddings'), LOCAL),
    ("context_too_long", 400, said('输入文本超出模型最大长度'), HOSTED),
    ("protected", 403, 'error code: 1010', HOSTED),
    ("protected", 403, "<html><head><title>Access Denied</title></head><body>You don't have permission to access this server. Reference #18.x https://errors.edgesuite.net/18.x</body></html>", HOSTED),
    ("protected", 403, '<!DOCTYPE html><html><head><title>Unable to load site</title></head><body>Please try again later; If you are using a VPN, try turning it off.</body></html>', HOSTED),
    ("protected", 406, '<html><head><title>Not Acceptable!</title></head><body><h1>Not Acceptable!</h1><p>An appropriate representation of the requested resource could not be found on this server. This error was generated by Mod_Security.</p></body></html>', HOSTED),
    ("protected", 403, '<!DOCTYPE html><html><head><title>Pardon Our Interruption</title></head><body>As you were browsing something about your browser made us think you were a bot.</body></html>', HOSTED),
    ("protected", 503, '<html><head><title>Checking your connection</title></head><body>Verifying you are human. This may take a few seconds.</body></html>', HOSTED),
    ("protected", 403, '<html><body><h1>Request Blocked</h1>FortiGuard Intrusion Prevention</body></html>', HOSTED),
    ("protected", 403, '<html><head><title>Zscaler</title></head><body>Your organization has selected Zscaler to protect you from internet threats</body></html>', HOSTED),
    ("content_filter", 446, {'error': {'message': 'The guardrail checks defined in the config failed. You can find more information in the `hook_results` object.', 'type': 'hooks_failed', 'param': None, 'code': None}, 'provider': 'openai', 'hook_results': {'before_request_hooks': [{'verdict': False, 'id': 'x', 'checks': [{'data': {'explanation': 'SECRET PROMPT'}}]}]}}, HOSTED),
    ("content_filter", 400, said('The request could not be processed because the input text includes sensitive content that violates ContentSecurityDetection.ARKRequest ID:0;Label:x', 'InputTextRiskDetection', 'BadRequest'), HOSTED),
    ("content_filter", 400, said('The request failed because the input text may contain severe violation information. Request id: 0', 'SensitiveContentDetected.SevereViolation', 'BadRequest'), HOSTED),
    ("content_filter", 403, {'error_code': 'ModelArts.81011', 'error_msg': 'May contain sensitive information, please try again.'}, HOSTED),
    ("content_filter", 400, said('Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please try again with a different prompt.', 'invalid_prompt'), HOSTED),
    ("content_filter", 400, {'error': {'code': 'content_filter', 'message': 'The response was filtered', 'innererror': {'code': 'ResponsibleAIPolicyViolation', 'content_filter_result': {'jailbreak': {'filtered': True, 'detected': True}}}}}, HOSTED),
    ("content_filter", 400, said('输入内容涉及违规，请修改后重试'), HOSTED),
    ("content_filter", 400, said('Prompt rejected by safety checker'), HOSTED),
    ("content_filter", 451, said('Content violates our policies'), HOSTED),
    ("content_filter", 403, said('Your request violates our Terms of Service', 'content_moderation'), HOSTED),
    ("content_filter", 400, {'code': 'data_inspection_failed', 'message': '<400> InternalError.Algo.DataInspectionFailed: Output data may contain inappropriate content.'}, HOSTED),
    ("content_filter", 400, said('Output blocked by content filtering policy'), HOSTED),
    ("content_filter", 400, said('The user prompt was blocked.'), HOSTED),
    ("forbidden", 403, said('The request failed because you do not have access to the requested resource. Request ID: 0', 'AccessDenied', 'Forbidden'), HOSTED),
    ("forbidden", 401, {'error_code': 'ModelArts.81006', 'error_msg': 'The resource is frozen.'}, HOSTED),
    ("forbidden", 401, {'error_code': 'ModelArts.81004', 'error_msg': 'Invalid request because you do not have access to it.'}, HOSTED),
    ("forbidden", 403, said('The inference gateway is not enabled for your organization'), HOSTED),
    ("forbidden", 403, {'error': 'This authentication method does not have sufficient permissions to call Inference Providers on behalf of user acme'}, HOSTED),
    ("forbidden", 403, {'error': 'The model acme/x is too large to be loaded automatically (13GB > 10GB).'}, HOSTED),
    ("forbidden", 403, [{'error': {'code': 403, 'message': 'Generative Language API has not been used in project 12 before or it is disabled. Enable it by visiting https://console.developers.google.com/x then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.', 'status': 'PERMISSION_DENIED'}}], HOSTED),
    ("forbidden", 403, [{'error': {'code': 403, 'message': 'Requests from referer <empty> are blocked.', 'status': 'PERMISSION_DENIED', 'details': [{'reason': 'API_KEY_HTTP_REFERRER_BLOCKED'}]}}], HOSTED),
    ("forbidden", 400, said('Organization has been restricted. Please reach out to support if you believe this was in error.', 'organization_restricted', 'invalid_request_error'), HOSTED),
    ("forbidden", 403, said('Kimi For Coding is currently only available for Coding Agents such as Kimi CLI, Claude Code, Roo Code, Kilo Code, etc.', None, 'access_terminated_error'), HOSTED),
    ("forbidden", 403, said('您无权访问glm-x。', '1220'), ZHIPU),
    ("forbidden", 403, said('用户已被封禁', None, 'new_api_error'), HOSTED),
    ("forbidden", 403, said('该令牌无权访问模型 gpt-x (request id: 2026)', None, 'new_api_error'), HOSTED),
    ("forbidden", 403, 'RBAC: access denied', HOSTED),
    ("forbidden", 403, {'message': 'Forbidden'}, HOSTED),
    ("forbidden", 403, said('Free credits temporarily have restricted access due to abuse. We are working on a resolution. Paid credits continue to have unrestricted access.'), HOSTED),
    ("forbidden", 403, said('Public access is disabled. Please configure private endpoint.', '403'), HOSTED),
    ("forbidden", 403, said('Access denied due to Virtual Network/Firewall rules.', 'AccessDenied'), HOSTED),
    ("forbidden", 400, {'type': 'error', 'error': {'type': 'invalid_request_error', 'message': 'This organization has been disabled.'}}, HOSTED),
    ("forbidden", 403, said('没有权限使用该模型'), HOSTED),
    ("forbidden", 403, said('This API key is not allowed to be used from this domain'), HOSTED),
    ("forbidden", 403, said('Model access restricted by workspace administrator'), HOSTED),
    ("forbidden", 403, said('Blocked by organization policy'), HOSTED),
    ("timeout", 500, {'code': 'InternalError.Timeout', 'message': 'An internal timeout error has occured during execution, please try again later or contact service support.', 'request_id': 'r'}, HOSTED),
    ("timeout", 504, said('The request expired in the queue because many requests were in progress.'), HOSTED),
    ("timeout", 500, {'error': {'message': 'do request failed: Post "https://api.openai.com/v1/chat/completions": context deadline exceeded (Client.Timeout exceeded while awaiting headers)', 'type': 'one_api_error', 'param': '', 'code': 'do_request_failed'}}, HOSTED),
    ("timeout", 408, {'error': {'message': 'litellm.Timeout: APITimeoutError - Request timed out. Error_str: Request timed out. - timeout value=6.0, time taken=6.1 seconds', 'type': None, 'param': None, 'code': '408'}}, LOCAL),
    ("timeout", 504, "<html><body><h1>504 Gateway Time-out</h1>\nThe server didn't respond in time.\n</body></html>\n", HOSTED),
    ("timeout", 504, {'message': 'Endpoint request timed out'}, HOSTED),
    ("timeout", 504, 'An error occurred with your deployment\n\nFUNCTION_INVOCATION_TIMEOUT\n\nfra1::abc-123\n', HOSTED),
    ("timeout", 504, 'stream timeout', HOSTED),
    ("timeout", 504, said('模型响应超时，请稍后重试'), HOSTED),
    ("timeout", 408, said('Request timed out waiting for the provider', 408), HOSTED),
    ("timeout", 500, said('Request timed out.', None, 'timeout_error'), HOSTED),
    ("timeout", 500, said('litellm.Timeout: Connection timed out after 600.0 seconds.'), HOSTED),
    ("malformed", 500, {'error': {'message': 'error parsing tool call: raw=\'{"path":"SECRET"}]\', err=invalid character \']\' after top-level value', 'type': 'api_error', 'param': None, 'code': None}}, LOCAL),
    ("malformed", 500, said('Failed to parse input at pos 12: <tool_call>\n<function=read>', 500, 'server_error'), LOCAL),
    ("malformed", 500, {'error': {'message': 'unexpected tokens remaining in message header: Some("to=functions.web")', 'type': 'Internal Server Error', 'param': None, 'code': 500}}, LOCAL),
    ("malformed", 400, said("Tool call validation failed: tool call validation failed: attempted to call tool 'x' which was not in request.tools", 'tool_use_failed', 'invalid_request_error'), HOSTED),
    ("crashed", 502, 'unable to start process: upstream command exited prematurely but successfully', LOCAL),
    ("crashed", 500, 'unable to load runner: error waiting for runner to be ready: llama.cpp terminated unexpectedly: llama.cpp failed: exit status: 1', LOCAL),
    ("crashed", 500, said('could not load model: rpc error: code = Unknown desc = failed loading model', 500, ''), LOCAL),
    ("crashed", 500, said('rpc error: code = Unavailable desc = error reading from server: EOF', 500, ''), LOCAL),
    ("crashed", 400, {'error': 'Failed to load model "x". Error: Operation canceled.'}, LOCAL),
    ("crashed", 500, said('unable to load model: /models/blobs/sha256-ab', None, 'api_error'), LOCAL),
    ("crashed", 400, {'error': 'Failed to load model "x". Error: Failed to load LLM engine from path: /m/x.gguf. error loading model architecture: unknown model architecture: \'qwen99\''}, LOCAL),
    ("crashed", 500, said('error starting runner: llama-server process exited: signal: killed', None, 'api_error'), LOCAL),
    ("crashed", 500, said('RuntimeError: CUDA error: device-side assert triggered'), LOCAL),
    ("crashed", 500, {'error': 'mlx: [METAL] Command buffer execution failed: Caused GPU Hang Error'}, LOCAL),
    ("crashed", 500, said('llama_decode failed: ret = -3'), LOCAL),
    ("crashed", 500, said('The backend process was killed'), LOCAL),
    ("crashed", 502, said('inference process exited unexpectedly (SIGKILL)'), LOCAL),
    ("loading", 500, said('grpc service not ready', 500, ''), LOCAL),
    ("loading", 503, said('The server is overloaded or not ready yet.', None, 'service_unavailable'), HOSTED),
    ("loading", 500, said('timed out waiting for llama runner to start - progress 0.00 - ', None, 'api_error'), LOCAL),
    ("loading", 503, said('Model is cold, warming up. ETA 45s', None, 'model_cold'), HOSTED),
    ("loading", 503, {'error': 'Model acme/x is currently loading', 'estimated_time': 61.4}, HOSTED),
    ("loading", 409, {'detail': 'Deployment is not ready: PENDING'}, HOSTED),
    ("loading", 503, 'Instance is starting. Please wait a moment and refresh', HOSTED),
    ("loading", 503, {'status': 'loading', 'progress': 0.42}, LOCAL),
    ("loading", 503, said('Pulling weights from storage, please hold'), HOSTED),
    ("loading", 500, said('model still loading'), LOCAL),
    ("loading", 503, said('Worker booting (cold start)'), HOSTED),
    ("server_memory", 424, {'error': 'Request failed during generation: Server error: CUDA out of memory. Tried to allocate 2.00 GiB', 'error_type': 'generation'}, LOCAL),
    ("server_memory", 500, said('llama runner process has terminated: error loading model: unable to allocate ROCm0 buffer', None, 'api_error'), LOCAL),
    ("server_memory", 500, said('model request too large for system', None, 'api_error'), LOCAL),
    ("server_memory", 500, said('CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)', None, 'InternalServerError'), LOCAL),
    ("server_memory", 500, {'error': '[METAL] Command buffer execution failed: Insufficient Memory'}, LOCAL),
    ("server_memory", 500, said('ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory'), LOCAL),
    ("server_memory", 500, said('not enough free VRAM: need 20GB'), LOCAL),
    ("server_memory", 500, said('std::bad_alloc'), LOCAL),
    ("no_tools", 400, said('deepseek-reasoner does not support Function Calling', None, 'invalid_request_error'), HOSTED),
    ("no_tools", 400, said('Function tools with reasoning_effort are not supported for gpt-x in /v1/chat/completions. Please use /v1/responses instead.', None, 'invalid_request_error'), HOSTED),
    ("no_tools", 400, said('tools are not supported by this chat template', None, 'invalid_request_error'), LOCAL),
    ("no_tools", 400, said('This model does not support the `tools` parameter'), HOSTED),
    ("no_tools", 400, said('tool use has not been enabled, because it is unsupported by this model'), LOCAL),
    ("no_tools", 501, said('Function calling not implemented'), LOCAL),
    ("no_tools", 400, said("'tools' is an unrecognized field"), LOCAL),
    ("no_tools", 400, said('Chat template does not support tools'), LOCAL),
    ("html_body", 404, '<!DOCTYPE html><html lang=en><title>Error 404 (Not Found)!!1</title><p><b>404.</b> <ins>That’s an error.</ins></html>', HOSTED),
    ("html_body", 200, '<!doctype html><html><head><title>Open WebUI</title></head></html>', LOCAL),
    ("html_body", 200, '<!DOCTYPE html><html><head><title>Login - Keycloak</title></head></html>', HOSTED),
    ("network_login", 407, '<html><head><title>ERROR: Cache Access Denied</title></head><body>Sorry, you are not currently allowed to request from this cache until you have authenticated yourself.</body></html>', HOSTED),
    ("network_login", 407, '', HOSTED),
    ("network_login", 511, '<html><head><title>Network Authentication Required</title></head><body>Please log in to the hotel network</body></html>', HOSTED),
    ("connection", 502, '<html><head><title>ngrok error</title></head><body>ERR_NGROK_8012 Traffic successfully made it to the ngrok agent, but the agent failed to establish a connection to the upstream web service</body></html>', HOSTED),
    ("connection", 503, '503 - Tunnel Unavailable', HOSTED),
    ("no_images", 400, said('Image inputs are not supported by this model'), HOSTED),
    ("no_images", 422, {'detail': 'This model is not multimodal; image_url content parts were given'}, HOSTED),
    ("no_images", 400, said('this model cannot see images'), HOSTED),
    ("no_images", 415, said('image/png content is not supported by the selected model'), HOSTED),
    ("no_images", 400, said('Vision capability missing for model'), HOSTED),
    ("region", 403, said('该服务在您所在的国家或地区不可用'), HOSTED),
    ("region", 403, {'error': {'code': 'unsupported_country_region_territory', 'message': 'Country, region, or territory not supported', 'param': None, 'type': 'request_forbidden'}}, HOSTED),
    ("region", 403, '<html><head><title>403 Forbidden</title></head><body>Sorry, this content is not available in your region.</body></html>', HOSTED),
    ("region", 403, {'detail': 'Access from your country (XX) is blocked due to sanctions'}, HOSTED),
    ("region", 400, [{'error': {'code': 400, 'message': 'User location is not supported for the API use without a billing account linked.', 'status': 'FAILED_PRECONDITION'}}], HOSTED),
    ("missing_v1", 404, {'error': 'Not Found', 'path': '/chat/completions'}, 'http://192.168.1.5:8000'),
    ("bad_url", 404, {'detail': 'Not Found'}, 'https://api.example.com/v1/chat/completions'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "status", "body", "base"), REFUSALS, ids=[f"{i}-{r[0]}" for i, r in enumerate(REFUSALS)]
)
def test_refusal(kind: str, status: int, body: Any, base: str) -> None:
    """The kind of each failure; a failure of a moment is asked again, and no other."""
    verdict = told(status, body, base=base)

    assert kind == verdict.kind
    assert explain(verdict, model="m", base_url=base) != explain(verdict, model="m", base_url=base, language="zh")


def page(code: int, title: str, inside: str = "") -> str:
    """The page that a content network makes for an error: the same frame, whatever has happened."""
    return (
        f"<!DOCTYPE html>\n<!--[if lt IE 7]> <html class='no-js ie6 oldie'> <![endif]-->\n<head><title>api.example.com | "
        f"{code}: {title}</title></head><body><div id='cf-wrapper'><div id='cf-error-details'>{title} {inside}</div></div>"
        "<script src='/cdn-cgi/challenge-platform/scripts/jsd/main.js'></script></body></html>"
    )


@pytest.mark.parametrize(
    ("kind", "status", "title"),
    [
        ("server_error", 500, "Worker threw exception"),
        ("server_error", 502, "Bad gateway"),
        ("overloaded", 503, "Service unavailable"),
        ("timeout", 504, "Gateway time-out"),
        ("server_error", 520, "Web server is returning an unknown error"),
        ("server_error", 521, "Web server is down"),
        ("timeout", 522, "Connection timed out"),
        ("server_error", 523, "Origin is unreachable"),
        ("timeout", 524, "A timeout occurred"),
        ("server_error", 525, "SSL handshake failed"),
        ("auth", 401, "Authorization Required"),
        ("auth", 401, "401 - Unauthorized: Access is denied due to invalid credentials."),
        ("rate_limited", 429, "You are being rate limited"),
        ("protected", 403, "Sorry, you have been blocked"),
    ],
)
def test_the_page_of_a_network_in_between(kind: str, status: int, title: str) -> None:
    """A gateway's page about a server that is away is no protection page, although it comes from the same network."""
    verdict = told(status, page(status, title))

    assert kind == verdict.kind
    assert ("robot" in explain(verdict)) is (kind == "protected")


@pytest.mark.parametrize(
    ("status", "body", "headers", "seconds"),
    [
        (402, said("Your in-flight requests use up the budget of this key."), {"retry-after": "5"}, 5.0),
        (429, {"message": "API rate limit exceeded"}, {"ratelimit-reset": "30", "ratelimit-remaining": "0"}, 30.0),
        (429, {"message": "slow"}, {"ratelimit": "limit=100, remaining=0, reset=50"}, 50.0),
        (429, {"message": "slow"}, {"ratelimit": '"default";r=0;t=40'}, 40.0),
        (429, {"message": "slow"}, {"ratelimit": '"minute";r=0;t=20, "day";r=900;t=80000'}, 20.0),
        (429, {"message": "slow"}, {"x-ratelimit-timeremaining": "9"}, 9.0),
        (429, {"message": "slow"}, {"retry-after": "00:01:30"}, 90.0),
        (429, said("All accounts are currently limited. Please wait 84152s."), {}, 84152.0),
        (429, said("Please wait for your limit to reset in 3 hours 49 minutes or switch to another model."), {}, 13740.0),
        (429, said("Quota will be replenished in 05:23:11."), {}, 19391.0),
        (429, said("Limit type: tokens. Remaining: 0. Limit resets at: 2026-01-01 00:00:40 UTC"), {}, 40.0),
        (429, said("No deployments available for selected model, Try again in 5 seconds."), {}, 5.0),
        (429, said("Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait 42345 seconds before retrying."), {}, 42345.0),
    ],
)  # fmt: skip
def test_when_to_come_back(status: int, body: Any, headers: dict[str, str], seconds: float) -> None:
    """However a server tells it: in one header or in several, as hours and minutes, or in words."""
    verdict = told(status, body, headers=headers)

    assert "rate_limited" == verdict.kind
    assert pytest.approx(seconds) == verdict.retry_after


def test_of_several_limits_the_one_that_is_nearly_used_up_counts() -> None:
    """The tokens of a minute are refused long before none of them is left; the day's requests are not the reason."""
    headers = {
        "x-ratelimit-limit-requests-day": "14400", "x-ratelimit-remaining-requests-day": "14391",
        "x-ratelimit-reset-requests-day": "33011.38", "x-ratelimit-limit-tokens-minute": "60000",
        "x-ratelimit-remaining-tokens-minute": "120", "x-ratelimit-reset-tokens-minute": "11.38",
    }  # fmt: skip

    assert 11.38 == told(429, said("Tokens per minute limit exceeded"), headers=headers).retry_after


def test_a_server_that_says_no_is_not_asked_again() -> None:
    """It knows that the next request would fail in the same way."""
    assert told(500, said("broken")).retryable
    assert not told(500, said("broken"), headers={"x-should-retry": "false"}).retryable


def test_a_proxy_that_wants_a_login_is_told_as_such() -> None:
    """Neither the key nor the account at the provider helps."""
    for language, word in (("en", "HTTPS_PROXY"), ("zh", "HTTPS_PROXY")):
        text = explain(told(407, ""), base_url=HOSTED, language=language)

        assert word in text
        assert "may lack the right" not in text


def test_a_redirect_on_the_same_host_names_the_right_address() -> None:
    """A client follows it with another method, and what it gets then says nothing of the redirect."""
    verdict = told(405, {"detail": "Method Not Allowed"}, history="http://api.example.com/v1")
    text = explain(verdict, base_url="http://api.example.com/v1")

    assert "to https://api.example.com/v1" in text


@pytest.mark.parametrize(
    "body",
    [
        {"errors": {"top_k": ["is not allowed"]}},
        {"message": "Validation failed", "details": [{"field": "top_k", "issue": "is not allowed"}]},
        {"error": {"message": "Bad input", "details": [{"fieldViolations": [{"field": "top_k", "description": "is not allowed"}]}]}},
    ],
)  # fmt: skip
def test_a_field_that_is_refused_is_named_whatever_the_shape(body: Any) -> None:
    """By its name, or in a list of what is wrong; without it "not allowed" says nothing."""
    assert "top_k: is not allowed" in told(400, body).message


def test_a_call_that_its_server_cannot_read_is_the_model_s_fault() -> None:
    """Nothing in between damages it, and an update would not help."""
    text = explain(
        told(500, said("error parsing tool call: raw='{]', err=invalid character ']'")), host="127.0.0.1:11434"
    )

    assert "another model" in text
    assert "damages" not in text


@pytest.mark.parametrize(
    "body",
    [
        said("Your account org-123<ak-f4abcdefgh1234> request reached organization max RPM: 3, please try again after 1 seconds"),
        {"object": "error", "message": {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs", "input": "ak-f4abcdefgh1234"}]}},
        {"error": {"message": "checks failed", "type": "hooks_failed"}, "hook_results": {"data": "ak-f4abcdefgh1234"}},
    ],
)  # fmt: skip
def test_neither_a_key_s_name_nor_the_input_is_repeated(body: Any) -> None:
    """What a refusal holds beside its words stays there."""
    assert "f4abcdefgh" not in explain(told(429, body))
